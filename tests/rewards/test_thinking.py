import pytest

from rsgrpo_cli.rewards.thinking import after_thinking, opens_thought

SPELLINGS = [
    ("<think>", "</think>"),
    ("<Thinking>", "</Thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final"),
    ("<|thinking|>", "<|/thinking|>"),
    ("<mm:think>", "</mm:think>"),
    ("<reflection>", "</reflection>"),
    ("<scratchpad>", "</scratchpad>"),
    ("<|channel>thought", "<channel|>"),
    ("<unused94>thought", "<unused95>"),
    ("<think >", "</think >"),
]


def test_thinking_ends_with_its_last_end() -> None:
    assert after_thinking("a</think>b</think>c") == "c"
    assert after_thinking("c") == "c"
    assert after_thinking("a</think>b<think>c") is None


@pytest.mark.parametrize(("opening", "closing"), SPELLINGS)
def test_every_spelling_of_a_thought(opening: str, closing: str) -> None:
    assert after_thinking(f"{opening}a{closing}b") == "b"
    assert after_thinking(f"{opening}a") is None
    assert after_thinking(f"a{closing}b") == "b"  # opened by the prompt, as templates do
    assert after_thinking(f"a{closing}b", in_thought=True) == "b"
    assert after_thinking("a", in_thought=True) is None
    assert opens_thought(f"<|user|>3+4?<|assistant|>{opening}\n", "3+4?")
    assert not opens_thought(f"<|user|>3+4?<|assistant|>{opening}\n\n{closing}\n\n", "3+4?")


def test_only_the_tag_that_belongs_to_it_ends_a_thought() -> None:
    assert after_thinking("<think>a</reasoning>b") is None
    assert after_thinking("<think>a</reasoning>b</think>c") == "c"
    assert after_thinking("<think>a<think>b</think>c") == "c"
    assert after_thinking("a<think>b</think>c", in_thought=True) == "c"


def test_words_that_are_no_tags() -> None:
    assert after_thinking("I think <thinker> a </thinks> b") == "I think <thinker> a </thinks> b"


def test_what_the_last_message_says_opens_nothing() -> None:
    asked = "Think between <think> and </think>. Begin with <think> please."
    assert not opens_thought(f"<|user|>{asked}<|assistant|>", asked)
    assert not opens_thought(f"<|system|>{asked}<|user|>3+4?<|assistant|>", "3+4?")
    assert opens_thought(f"<|user|>{asked}<|assistant|><think>\nOkay,", asked)  # a thought that was begun for it
    assert opens_thought("<|user|>think<|assistant|><think>\n", "think")  # the content occurs in the tag


def test_plain_text_opens_a_thought_with_its_very_end_only() -> None:
    assert opens_thought("User: 3+4? Assistant: <think>", None)
    assert not opens_thought("Think in <think>. User: 3+4? Assistant:", None)


@pytest.mark.parametrize("text", ["<think>", "</think>", "<", "[THINK", "◁think▷", "<|channel|>", "a "])
def test_enormous_texts_take_no_time(text: str) -> None:
    enormous = text * (3_000_000 // len(text))
    assert after_thinking(enormous + "</think>◁/think▷end") == "end"
    assert opens_thought(enormous + "3+4?<think>" + " " * 100, "3+4?")
