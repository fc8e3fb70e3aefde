import pytest

from rsgrpo_cli.config import PrepareConfig
from rsgrpo_cli.errors import UsageError
from rsgrpo_cli.tasks.phrasing import INSTRUCTION, Phrasing
from rsgrpo_cli.tasks.problems import Problem
from rsgrpo_cli.tasks.sources import Source

PLAIN = Source("mine", "math", "train", [], "id")
CHAT = ({"role": "user", "content": "1+1?"},)


def phrased(text: object = "1+1?", source: Source = PLAIN, graded: bool = True, **settings: object) -> list[object]:
    problem = Problem(3, text, "2")  # type: ignore[arg-type]
    messages = Phrasing(PrepareConfig.model_validate(settings), source, graded).messages(problem)
    return [(message["role"], message["content"]) for message in messages]


def test_a_math_problem_is_followed_by_the_instruction() -> None:
    assert phrased() == [("user", f"1+1?\n{INSTRUCTION}")]
    assert phrased(instruction="Think.") == [("user", "1+1?\nThink.")]
    assert phrased(instruction="") == [("user", "1+1?")]


@pytest.mark.parametrize(
    "changed",
    [
        {"text": "1+1? Answer in \\boxed{}."},  # it asks for a box itself
        {"source": Source("sums", "math", "train", [], "id", own_instruction=True)},
        {"source": Source("mine", "countdown", "train", [], "id")},
        {"graded": False},  # a function of the user's decides what an answer is
    ],
)
def test_where_none_is_added(changed: dict[str, object]) -> None:
    text = changed.get("text", "1+1?")
    assert phrased(**changed) == [("user", text)]  # type: ignore[arg-type]
    assert phrased(**changed, instruction="Think.") == [("user", f"{text}\nThink.")]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "asked", [r"\boxed{}", r"\boxed{...}", r"\boxed{answer}", r"\boxed{\text{answer}}", r"a \boxed"]
)
def test_a_problem_that_asks_for_a_box_itself(asked: str) -> None:
    assert phrased(f"1+1? Put it in {asked}.") == [("user", f"1+1? Put it in {asked}.")]


@pytest.mark.parametrize("blank", [r"3\boxed{\phantom0}0", r"\boxed{?}+1=2", r"\boxed{7}", r"\boxed{x}"])
def test_a_blank_in_a_problem_asks_for_no_box(blank: str) -> None:
    assert phrased(blank) == [("user", f"{blank}\n{INSTRUCTION}")]


def test_a_chat_is_left_as_it_is() -> None:
    assert phrased(CHAT) == [("user", "1+1?")]
    assert phrased(CHAT, system_prompt="Be brief.") == [("system", "Be brief."), ("user", "1+1?")]
    assert phrased(CHAT, instruction="Think.") == [("user", "1+1?\nThink.")]  # unless it is asked for
    both = phrased(CHAT, instruction="Think.", instruction_role="system", system_prompt="Be brief.")
    assert both == [("system", "Be brief.\nThink."), ("user", "1+1?")]
    with pytest.raises(UsageError, match=r"mine row 3 .* is a chat already"):
        phrased(CHAT, prompt_template="{{ problem }}")


def test_the_instruction_as_system_prompt() -> None:
    assert phrased(instruction_role="system") == [("system", INSTRUCTION), ("user", "1+1?")]
    both = phrased(instruction_role="system", system_prompt="Be brief.", instruction="Think.")
    assert both == [("system", "Be brief.\nThink."), ("user", "1+1?")]


def test_a_template_words_the_turn_and_places_the_instruction() -> None:
    assert phrased(prompt_template="Q: {{ problem }}\nA:") == [("user", "Q: 1+1?\nA:")]
    template = "{{ instruction }} {{ problem }} ({{ dataset }} {{ split }} {{ index }})\n"
    assert phrased(prompt_template=template, instruction="Think.") == [("user", "Think. 1+1? (mine train 3)\n")]


def test_plain_text_reaches_the_model_as_it_is() -> None:
    assert phrased(prompt_style="text", system_prompt="S") == [("text", f"S\n\n1+1?\n{INSTRUCTION}\n")]
    template = "<|im_start|>user\n{{ problem }}<|im_end|>\n<|im_start|>assistant\n"
    made = phrased(prompt_style="text", prompt_template=template)
    assert made == [("text", "<|im_start|>user\n1+1?<|im_end|>\n<|im_start|>assistant\n")]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ question }}", "fails on mine row 3 (counted from 0): 'question' is undefined"),
        ("{{ problem", "not valid Jinja: line 1"),
        ("{{ problem.__class__.__mro__ }}", "unsafe"),
        ("{{ answer }}", "'answer' is undefined"),  # a prompt cannot give its answer away
        ("{{ problem }} {{ 1 / 0 }}", "division by zero"),
        ("Question: {problem}\nAnswer:", "leaves the problem out"),  # as Python's format() has it
        ("{{ instruction }}", "leaves the problem out"),
        ("<|im_start|>user\n{{ problem }}", "prepare.prompt_style=text"),
    ],
)
def test_templates_that_cannot_be_used(template: str, message: str) -> None:
    with pytest.raises(UsageError) as raised:
        phrased(prompt_template=template)
    assert message in str(raised.value)


def test_the_hash_is_of_what_decides_the_words() -> None:
    def of(source: Source = PLAIN, **settings: object) -> str:
        return Phrasing(PrepareConfig.model_validate(settings), source, True).id

    assert of() == of(dataset="other", limit=3, max_prompt_tokens=9)
    different = [
        of(),
        of(instruction="Think."),
        of(instruction_role="system"),
        of(prompt_template="{{ problem }}"),
        of(Source("sums", "math", "train", [], "id", own_instruction=True)),
    ]
    assert len(set(different)) == len(different)


DAPO = "The last line of your response should be of the form Answer: $Answer (without quotes) where ...\n\n1+1?"


def form_asked(text: object, source: Source = PLAIN, graded: bool = True, **settings: object) -> str | None:
    phrasing = Phrasing(PrepareConfig.model_validate(settings), source, graded)
    return phrasing.form_asked(phrasing.messages(Problem(3, text, "2")))  # type: ignore[arg-type]


def asking(text: str) -> tuple[dict[str, str], ...]:
    return ({"role": "user", "content": text},)


def test_whether_a_prompt_asks_for_a_box() -> None:
    assert form_asked("1+1?") == form_asked(CHAT, instruction=INSTRUCTION) == "box"
    assert form_asked(asking(r"1+1? Answer in \boxed{}.")) == "box"
    assert form_asked(CHAT) == form_asked("1+1?", instruction="Think.") == "none"
    assert form_asked(CHAT, system_prompt=r"Use \boxed{}.") == "box"


@pytest.mark.parametrize(
    ("template", "placed"),
    [("{{ problem }} {{ instruction }}", True), ("Follow the instruction: {{ problem }}", False), (None, True)],
)
def test_whether_an_instruction_would_reach_the_prompt(template: str | None, placed: bool) -> None:
    cfg = PrepareConfig.model_validate({"prompt_template": template})
    assert Phrasing(cfg, PLAIN, graded_as_math=True).places_instruction == placed


def test_nobody_has_to_ask_for_a_box() -> None:
    assert form_asked(CHAT, instruction="") is None  # the user wants none
    assert form_asked(CHAT, graded=False) is None
    assert form_asked("1+1?", Source("mine", "countdown", "train", [], "id")) is None
    assert form_asked("1+1?", Source("sums", "math", "train", [], "id", own_instruction=True)) is None


@pytest.mark.parametrize(
    "text",
    [
        DAPO,
        '1+1?\n\nRemember to put your answer on its own line after "Answer:".',
        "1+1? End with the phrase 'The final answer: x'.",
        '1+1? Let\'s think step by step and output the final answer after "####".',
        "1+1? Put your thoughts within <think> </think> and the result in <answer> </answer> tags.",
    ],
)
def test_another_form_than_a_box(text: str) -> None:
    assert form_asked(text) == form_asked(asking(text)) == "other"


@pytest.mark.parametrize(
    "text",
    [
        "Write 12 in the form $a+b$ with three digits. Answer: ",
        "A line is drawn with the answers of ten pupils.",
        "Q: 1+1?\nA: 2\nQ: 2+2?\nAnswer:",
        "Find the answer in lowest terms.",
    ],
)
def test_a_problem_that_only_speaks_of_answers(text: str) -> None:
    assert form_asked(text) == "box"
