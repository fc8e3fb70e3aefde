"""What a prompt column asks."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rsgrpo_cli.errors import DataError
from rsgrpo_cli.tasks.chats import Asked, asked, is_filled, media_columns
from rsgrpo_cli.tasks.sources import load_source

USER = {"role": "user", "content": "1+1?"}
TURN = ({"role": "user", "content": "1+1?"},)


def parts(*content: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(content)}]


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("1+1?", Asked("1+1?")),
        (None, Asked("")),
        (float("nan"), Asked("")),
        ("", Asked("")),
        (" \n\u200b", Asked("")),
        ([], Asked("")),
        ([USER], Asked(TURN)),
        ('[{"role": "user", "content": "1+1?"}]', Asked(TURN)),
        ('{"role": "user", "content": "1+1?"}', Asked(TURN)),
        ("[{'role': 'user', 'content': '1+1?'}]", Asked(TURN)),
        (USER, Asked(TURN)),
        ("nan", Asked("")),
        (" None ", Asked("")),
        ("{'a': 1} has how many keys?", Asked("{'a': 1} has how many keys?")),
        ("<image>\nHow long is AB?", Asked("<image>\nHow long is AB?", media=True)),
        ("In <image 2>, how long is AB?", Asked("In <image 2>, how long is AB?", media=True)),
        ("An image of 3 and <x> of 4", Asked("An image of 3 and <x> of 4")),
        ([USER | {"content": "<image>1+1?"}], Asked(({"role": "user", "content": "<image>1+1?"},), media=True)),
        ("[{1, 2}] has how many members?", Asked("[{1, 2}] has how many members?")),
        ([{"role": "system", "content": "Be brief."}], Asked("")),
        ([{"role": "user", "content": " "}], Asked("")),
        ([{"role": "user", "content": None}], Asked("")),
        (parts({"type": "text", "text": "1+1?"}), Asked(TURN)),
        (parts({"type": "text", "text": "1+1"}, "= ?"), Asked(({"role": "user", "content": "1+1\n= ?"},))),
        (parts({"type": "text", "text": "1+1?", "image": None}), Asked(TURN)),
        (parts({"type": "image_url", "image_url": {"url": "x"}}, {"text": "1+1?"}), Asked(TURN, media=True)),
        (parts({"image": "x.png"}, {"text": "1+1?"}), Asked(TURN, media=True)),
        ([USER, {"role": "assistant", "content": "2"}], Asked(TURN, answered=True)),
        ([{"from": "human", "value": "1+1?"}], Asked(TURN)),
        ([{"from": "human", "value": "1+1?"}, {"from": "gpt", "value": "2"}], Asked(TURN, answered=True)),
        ('[{"from": "human", "value": "1+1?"}]', Asked(TURN)),
        ([USER | {"tool_calls": None}], Asked(TURN)),
        ([{"role": "assistant", "content": "2"}], Asked("")),
    ],
)
def test_what_is_asked(value: Any, found: Asked) -> None:
    assert asked(value, "row 0") == found


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (7, "row 0 is int, not text or a chat"),
        ([{"speaker": "human", "value": "1+1?"}], "turn 1: a chat is a list of objects with role and content"),
        ([{"from": "narrator", "value": "1+1?"}], "turn 1 has the role 'narrator'"),
        ([{"from": ["human"], "value": "1+1?"}], r"turn 1 has the role \['human'\]"),
        ([USER, {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}], "turn 2 uses a tool"),
        ([USER, {"role": "tool", "content": "2"}], "turn 2 uses a tool"),
        ([{"role": "human", "content": "1+1?"}], "turn 1 has the role 'human'"),
        ([{"role": "text", "content": "1+1?"}], "turn 1 has the role 'text'"),
        ([{"role": "system", "content": None}, USER], "turn 1 has no content"),
        (parts({"type": "audio_graph"}), "a part of the type 'audio_graph'"),
        ([{"role": "user", "content": {"text": "1+1?"}}], "a content that is dict"),
    ],
)
def test_what_cannot_be_asked(value: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        asked(value, "row 0")


@pytest.mark.parametrize(
    ("text", "media"),
    [
        ("How long is $AB$? ![](https://a.b/c-1.jpg?height=10&width=2)", True),
        ('![the triangle](figures/7.png "Figure 7") How long is $AB$?', True),
        ("<img src='a.png' width=10> How long is $AB$?", True),
        (r"\begin{figure}\includegraphics[width=3cm]{a}\end{figure} How long is $AB$?", True),
        ("Compute $5![2](3)$, where $n!$ is the factorial.", False),
        ("[asy] draw((0,0)--(1,1)); [/asy] How long is $AB$?", False),
        ("Find a < img and <b>src</b>.", False),
    ],
)
def test_images_in_markdown_html_and_latex(text: str, media: bool) -> None:
    assert asked(text, "row 0") == Asked(text, media=media)
    assert asked([USER | {"content": text}], "row 0").media == media


def test_columns_of_images_are_known_by_name_or_by_what_they_hold() -> None:
    stored = {"bytes": None, "path": None}
    shape = {"problem": None, "images": ["a.png"], "image_3": None, "figure": stored, "shots": [stored], "imagery": "x"}
    assert media_columns(shape) == ["images", "image_3", "figure", "shots"]
    more = ("problem_image", "image_file", "multi_modal_data", "has_image", "num_images", "diagram", "question_pic_1")
    assert media_columns(dict.fromkeys(more)) == [*more]
    assert not media_columns(dict.fromkeys(("significant_figures", "imagination", "photon", "videogame", "source")))
    texts = {
        "a": "data:image/png;base64,iVBO",
        "b": "/9j/4AAQ",
        "c": "figures/12.png",
        "d": "read a.png aloud",
        "e": "12",
    }
    assert media_columns(texts) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("value", "filled"),
    [(False, False), (0, False), (2, True), (float("nan"), False), ("", False), (b"", False), ({"bytes": None}, False)],
)
def test_a_column_that_holds_nothing_shows_nothing(value: Any, filled: bool) -> None:
    assert is_filled(value) is filled


def test_rows_with_images_in_parquet(tmp_path: Path) -> None:
    picture = [None, {"bytes": b"\x89PNG", "path": None}, {"bytes": None, "path": None}]
    table = pa.table({"problem": ["a", "b", "c"], "answer": ["1", "2", "3"], "sketch": picture})
    pq.write_table(table, tmp_path / "a.parquet")
    problems = load_source(str(tmp_path / "a.parquet"), "train").problems
    assert [problem.media for problem in problems] == [False, True, False]
