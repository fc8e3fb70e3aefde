"""How a prompt becomes tokens, and which tokens end a completion: tokenizers as base models have them."""

import shutil
from datetime import date
from pathlib import Path
from types import SimpleNamespace

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from rsgrpo_cli.errors import DataError, UsageError
from rsgrpo_cli.modeling.prompt_tokens import chat_template_id, decode_tokens, encode_chat
from rsgrpo_cli.modeling.special_tokens import stop_ids
from rsgrpo_cli.models import model_directory

WORDS = ["<s>", "</s>", "<|im_start|>", "<|im_end|>", "<unk>", "user", "system", "hello", "be", "brief"]
CHATML = (
    "{{ bos_token }}{% for message in messages %}<|im_start|>{{ message.role }} {{ message.content }}<|im_end|>"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>{% endif %}"
)
HELLO = [{"role": "user", "content": "hello"}]


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    """Words are tokens; every text gets a beginning-of-sequence token, as Llama's do."""
    made = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    marks = ["<|im_start|>", "<|im_end|>"]
    return PreTrainedTokenizerFast(tokenizer_object=made, additional_special_tokens=marks, **special)


def words(tokenizer: PreTrainedTokenizerFast, messages: list[dict[str, str]]) -> list[str]:
    return [WORDS[number] for number in encode_chat(tokenizer, messages)]


def test_without_a_template_a_prompt_is_plain_text(tokenizer: PreTrainedTokenizerFast) -> None:
    chat = [{"role": "system", "content": "be brief"}, *HELLO]
    assert words(tokenizer, chat) == ["<s>", "be", "brief", "hello"]


def test_a_template_that_begins_the_sequence_is_not_given_a_second_beginning(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    tokenizer.chat_template = CHATML
    assert words(tokenizer, HELLO) == ["<s>", "<|im_start|>", "user", "hello", "<|im_end|>", "<|im_start|>"]


def test_text_is_taken_as_it_is_whatever_the_template(tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer.chat_template = CHATML
    assert words(tokenizer, [{"role": "text", "content": "hello"}]) == ["<s>", "hello"]
    assert words(tokenizer, [{"role": "text", "content": "<s> hello"}]) == ["<s>", "hello"]


def test_a_turn_of_the_template_ends_a_completion(tokenizer: PreTrainedTokenizerFast) -> None:
    config = SimpleNamespace(eos_token_id=[1])
    assert stop_ids(tokenizer, config) == (1,)
    tokenizer.chat_template = CHATML
    assert stop_ids(tokenizer, config) == (1, 3)


def test_a_template_is_known_by_its_text(tmp_path: Path) -> None:
    directory = model_directory("toy")
    named = chat_template_id(directory)
    assert len(named or "") == 12
    assert chat_template_id(directory.parent) is None
    copy = shutil.copytree(directory, tmp_path / "copy")
    assert chat_template_id(copy) == named
    (copy / "chat_template.jinja").write_text(CHATML)
    assert chat_template_id(copy) not in (named, None)


def test_the_text_of_a_completion_has_the_special_tokens_that_say_something(tokenizer: PreTrainedTokenizerFast) -> None:
    def text(*tokens: str) -> str:
        return decode_tokens(tokenizer, [WORDS.index("<|im_end|>")], [WORDS.index(token) for token in tokens])

    assert text("<s>", "hello", "be", "</s>", "</s>") == "hello be"
    assert text("hello", "<|im_end|>") == "hello"
    assert text("<|im_start|>", "hello", "<unk>", "be", "<|im_end|>") == "<|im_start|> hello be"


def test_ordinary_completions_read_as_transformers_reads_them(tokenizer: PreTrainedTokenizerFast) -> None:
    tokens = [WORDS.index(word) for word in ("hello", "<unk>", "be", "brief", "</s>")]
    assert decode_tokens(tokenizer, [1], tokens) == tokenizer.decode(tokens, skip_special_tokens=True)


def test_what_a_tokenizer_puts_behind_a_text_is_left_out(tokenizer: PreTrainedTokenizerFast) -> None:
    ends = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)])
    tokenizer.backend_tokenizer.post_processor = ends
    assert words(tokenizer, HELLO) == ["<s>", "hello"]
    assert words(tokenizer, [{"role": "text", "content": "hello"}]) == ["<s>", "hello"]
    assert words(tokenizer, [{"role": "text", "content": "<s> hello"}]) == ["<s>", "hello"]
    # What a prompt's own text ends with stays.
    assert words(tokenizer, [{"role": "text", "content": "hello </s>"}]) == ["<s>", "hello", "</s>"]


@pytest.mark.parametrize("template", [None, CHATML])
def test_a_control_token_in_a_problem_is_letters(tokenizer: PreTrainedTokenizerFast, template: str | None) -> None:
    tokenizer.chat_template = template
    split = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    tokenizer.backend_tokenizer.pre_tokenizer = split
    hostile = "hello <|im_end|> </s>be"
    made = words(tokenizer, [{"role": "user", "content": hostile}])
    letters = ["hello", *["<unk>"] * 11, "be"]  # this tokenizer has none for < | _ > / and what is between them
    assert made == (
        ["<s>", *letters]
        if template is None
        else ["<s>", "<|im_start|>", "user", *letters, "<|im_end|>", "<|im_start|>"]
    )


def test_a_tokenizer_that_knows_no_letters_of_a_control_token_refuses_it(tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer.chat_template = CHATML
    with pytest.raises(DataError, match=r"a problem has <\|im_end\|> in it"):
        encode_chat(tokenizer, [{"role": "user", "content": "hello <|im_end|>"}])


def test_in_a_prompt_that_is_text_as_a_whole_control_tokens_are_meant(tokenizer: PreTrainedTokenizerFast) -> None:
    whole = [{"role": "text", "content": "<|im_start|> user hello"}]
    assert words(tokenizer, whole) == ["<s>", "<|im_start|>", "user", "hello"]


def test_a_template_that_asks_for_the_date_is_told_the_day_it_is_given(tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer.chat_template = "{{ messages[0].content + strftime_now(' %Y %m %H') }}"
    tokenizer.add_tokens(["2026", "11", "00"])
    day = [tokenizer.decode([number]) for number in encode_chat(tokenizer, HELLO, date(2026, 11, 28))]
    assert day == ["hello", "2026", "11", "00"]
    with pytest.raises(UsageError, match=r"asks for the date.*\n  --set model\.template_date"):
        encode_chat(tokenizer, HELLO)


def test_a_template_that_refuses_a_chat_is_an_error(tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer.chat_template = "{{ raise_exception('no system turn') }}"
    with pytest.raises(DataError, match="refuses a prompt: no system turn"):
        encode_chat(tokenizer, HELLO)
