"""The page as a file: what is in it, what it may do, how large it gets."""

import base64
import hashlib
import json
import re
import shlex
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from rsgrpo_cli.artifacts import Lineage, read_lineage, read_table, write_table
from rsgrpo_cli.commands import options
from rsgrpo_cli.config import resolve
from rsgrpo_cli.errors import MissingError, UsageError
from rsgrpo_cli.report.html import collect, room
from rsgrpo_cli.report.html.page import embedded, policy, script_text
from rsgrpo_cli.report.html.passk import sentence
from rsgrpo_cli.schemas import ADVANTAGES, POLICY_LOGPROBS
from tests.conftest import Cli
from tests.report.html.written import (
    AFTER,
    ASKED,
    BEFORE,
    CUT,
    HOSTILE,
    graded_runs,
    hostile_run,
    many_runs,
    new_run,
    two_runs,
    write_evaluation,
    write_metrics,
    write_step,
)


class Elements(HTMLParser):
    """The tags of a page, and the text inside its script elements."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside = tag == "script"
        if self.inside:
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.scripts[-1] += data


def read(page: bytes) -> tuple[dict[str, Any], Elements]:
    """The data of a page, and its elements."""
    elements = Elements()
    elements.feed(page.decode())
    data: dict[str, Any] = json.loads(elements.scripts[0])
    return data, elements


def test_the_page_says_what_changed(tmp_path: Path) -> None:
    grpo, rs = two_runs(tmp_path)
    data, _ = read(collect.page([f"GRPO={grpo.path}", f"RS={rs.path}"]))
    assert [arm["label"] for arm in data["arms"]] == ["base model", "GRPO", "RS"]
    assert data["baseline"] == 1  # the first that was trained
    assert data["benchmark"] | {"verifier": ""} == {
        "name": "puzzles", "problems": 3, "samples": 4, "seeds": 1, "graded": False, "ks": [1, 2, 4],
        "temperature": 1.0, "verifier": "",
    }  # fmt: skip
    pair = data["pairs"]["1,2"]
    # pass@4: GRPO solves p-2 and p-3, RS p-1 and p-3; pass@1: (0 + 1/4 + 1) / 3 against (2/4 + 0 + 1) / 3.
    assert [row["k"] for row in pair["rows"]] == [1, 2, 4]
    assert pair["rows"][0]["before"] == pytest.approx(1.25 / 3)
    assert pair["rows"][0]["after"] == pytest.approx(1.5 / 3)
    assert (pair["rows"][2]["better"], pair["rows"][2]["worse"], pair["rows"][2]["tied"]) == (1, 1, 1)
    assert data["pairs"]["2,1"]["rows"][0]["difference"] == -pair["rows"][0]["difference"]
    assert pair["sentence"].startswith("Against GRPO, RS shows no clear difference in 4 tries")
    assert "3 problems, 4 samples each, 1 seed" in pair["sentence"]
    rows = {row["id"]: row for row in data["problems"]["rows"]}
    assert {name: row["right"] for name, row in rows.items()} == {"p-1": [0, 0, 2], "p-2": [1, 1, 0], "p-3": [4, 4, 4]}
    assert rows["p-1"]["truncated"] == [1, 1, 0]
    assert rows["p-1"]["unreadable"] == [0, 0, 1]
    shown = [
        [data["texts"][text], times, data["statuses"][status]]
        for text, times, status, _, _ in rows["p-1"]["samples"][2]
    ]
    assert shown == [["a4", 2, "ok"], ["a1", 1, "wrong"], ["a5", 1, "no_box"]]
    assert data["texts"][rows["p-1"]["prompt"]] == "Make 1."


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([(1, -0.03, -0.04, -0.02), (4, 0.01, -0.01, 0.03), (8, 0.04, 0.01, 0.07)],
         "solves more problems in 8 tries (+4.0 points [+1.0 to +7.0]) and solves fewer problems at the first try "
         "(−3.0 points [−4.0 to −2.0]). pass@k is clearly higher at k = 8 and lower at k = 1."),
        ([(1, 0.1, 0.05, 0.2), (2, 0.1, 0.05, 0.2), (1000, 0.1, 0.05, 0.2)],
         "solves more problems in 1,000 tries (+10.0 points [+5.0 to +20.0]) and at the first try "
         "(+10.0 points [+5.0 to +20.0]). pass@k is clearly higher at every k."),
        ([(1, 0.0, 0.0, 0.0), (8, 0.04, 0.01, 0.07)],
         "solves more problems in 8 tries (+4.0 points [+1.0 to +7.0]) and is equal on every problem at the first "
         "try."),
        ([(2, 0.0001, None, None)],
         "shows no clear difference in 2 tries (+0.01 points [no interval: a single problem])."),
    ],
)  # fmt: skip
def test_the_verdict_in_words(rows: list[tuple[Any, ...]], said: str) -> None:
    told = [dict(zip(("k", "difference", "low", "high"), row, strict=True)) for row in rows]
    told = [row | {"better": int(row["difference"] > 0), "worse": int(row["difference"] < 0)} for row in told]
    assert sentence(["A", "B"], told, 30, 64, 2, False) == (
        f"Against A, B {said} Paired 95% intervals over problems and seeds; 30 problems, 64 samples each, 2 seeds."
    )


def test_equal_results_are_a_sentence_of_their_own() -> None:
    row = {"k": 1, "difference": 0.0, "low": 0.0, "high": 0.0, "better": 0, "worse": 0}
    told = sentence(["A", "B"], [row, row | {"k": 4}], 30, 4, 1, False)
    assert told == "B and A are equal on every problem (30 problems, 4 samples each, 1 seed)."


def test_a_verdict_on_one_problem() -> None:
    row = {"k": 1, "difference": 0.0, "low": None, "high": None, "better": 0, "worse": 0}
    assert sentence(["A", "B"], [row], 1, 1, 1, False).endswith("(1 problem, 1 sample each, 1 seed).")


def test_a_verdict_on_grades() -> None:
    row = {"k": 0, "difference": 0.25, "low": 0.1, "high": 0.4, "better": 3, "worse": 1}
    assert sentence(["A", "B"], [row], 30, 4, 1, True) == (
        "Against A, B is higher in mean reward (+0.250 [+0.100 to +0.400]). Paired 95% intervals over problems; "
        "30 problems, 4 samples each, 1 seed."
    )


def test_groups_have_advantages_and_tokens(tmp_path: Path) -> None:
    _, rs = two_runs(tmp_path)
    data, _ = read(collect.page([str(rs.path)]))
    steps = data["groups"]["steps"]
    assert [(step["step"], len(step["groups"])) for step in steps] == [(0, 3), (1, 3)]
    assert steps[1]["settings"]["beta"] == 4.0
    first = steps[1]["groups"][0]
    assert (first["id"], first["status"]) == ("p-1", "mixed")  # the only one with a gradient
    text, reward, status, answer, advantage, length, cut, tokens = first["samples"][1]
    assert (data["texts"][text], reward, data["statuses"][status], answer, length, cut) == ("a4", 1.0, "ok", "a4", 2, 0)
    assert advantage == pytest.approx(0.2411, abs=1e-4)  # (e^4 / ((e^4 + 1) / 2) - 1) / 4
    pieces = data["groups"]["pieces"][0]
    assert [pieces[number] for number in tokens[0]] == ["a", "4"]
    assert tokens[1:] == [[0.5, 0.5], [0.1, 0.1], [0.7, 0.7]]
    assert steps[0]["groups"][0]["samples"][0][-1][2] == []  # that step kept no log-probabilities of the trainer


def test_what_was_cut_is_counted_whatever_the_verdict(tmp_path: Path) -> None:
    run = new_run(tmp_path / "x", ASKED)
    texts = [(f"1{CUT}", "ok"), (f"1{CUT}", "ok"), ("1", "ok"), (f"2{CUT}", "no_box"), (f"3{CUT}", "truncated")]
    write_evaluation(run, 1, ASKED, dict.fromkeys(ASKED, texts))
    data, _ = read(collect.page([str(run.path)]))
    row = data["problems"]["rows"][0]
    assert (row["truncated"], row["unreadable"]) == ([4], [1])
    shown = [
        [data["texts"][text], times, data["statuses"][status], cut] for text, times, status, _, cut in row["samples"][0]
    ]
    assert shown == [
        [f"1{CUT}", 2, "ok", 1], ["1", 1, "ok", 0], [f"2{CUT}", 1, "no_box", 1], [f"3{CUT}", 1, "truncated", 1]
    ]  # fmt: skip


@pytest.mark.parametrize("again", ["rollouts", "advantages"])
def test_the_trainers_numbers_of_other_completions_are_not_shown(tmp_path: Path, again: str) -> None:
    _, rs = two_runs(tmp_path)
    said = read_table(rs.policy_logprobs(1), POLICY_LOGPROBS)
    made_of = dict(read_lineage(rs.policy_logprobs(1), POLICY_LOGPROBS).inputs) | {again: "others"}
    write_table(rs.policy_logprobs(1), said, POLICY_LOGPROBS, Lineage("update", {}, made_of))
    data, _ = read(collect.page([str(rs.path)]))
    before, step = data["groups"]["steps"]
    assert all(sample[-1][2:] == [[], []] for group in step["groups"] for sample in group["samples"])
    told, command = step["trainer"]
    assert "made again since" in told
    assert command == f"rsgrpo update --run {rs.path} --step 1 --force"
    told, command = before["trainer"]  # it kept none
    assert f"{rs.path}@1.trainer" in told
    assert command == f"rsgrpo update --run {rs.path} --step 0 --tag trainer"


def test_what_is_stale_is_warned_of(tmp_path: Path) -> None:
    _, rs = two_runs(tmp_path)
    assert read(collect.page([str(rs.path)]))[0]["runs"][0]["warnings"] == []
    made = read_lineage(rs.advantages(1), ADVANTAGES)
    other = Lineage("advantage", {**made.config, "beta": 9.0}, {"rewards": "others"})
    write_table(rs.advantages(1), read_table(rs.advantages(1), ADVANTAGES), ADVANTAGES, other)
    assert read(collect.page([str(rs.path)]))[0]["runs"][0]["warnings"] == [
        "the advantages of step 1 were made from other rewards",
        "the advantages of step 1 have beta 9.0; the run's own is 4.0",
    ]


def test_visits_tell_what_was_learnt_and_forgotten(tmp_path: Path) -> None:
    _, rs = two_runs(tmp_path)
    (visits,) = read(collect.page([str(rs.path)]))[0]["visits"]
    assert [row[:2] for row in visits["prompts"]] == [["p-1", "learnt"], ["p-2", "forgotten"], ["p-3", "always"]]
    assert visits["prompts"][0][2] == [[0, 0, 4], [1, 2, 4]]
    assert visits["kinds"] == [1, 1, 0, 1, 0, 0]
    assert visits["by_visit"] == [[1, 1, 1], [1, 1, 1]]


def test_equal_data_give_equal_bytes(tmp_path: Path) -> None:
    grpo, rs = two_runs(tmp_path)
    names = [str(grpo.path), str(rs.path)]
    assert collect.page(names) == collect.page(names)


def test_only_our_script_and_style_may_run(tmp_path: Path) -> None:
    _, rs = two_runs(tmp_path)
    page = collect.page([str(rs.path)])
    _, elements = read(page)
    told = [attrs["content"] for tag, attrs in elements.tags if attrs.get("http-equiv") == "Content-Security-Policy"]
    assert told == [policy()]
    assert policy().startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy()
    hashed = base64.b64encode(hashlib.sha256(elements.scripts[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{hashed}'" in policy()
    style = re.search(rb"<style>(.*?)</style>", page, re.DOTALL)
    assert style
    assert f"style-src 'sha256-{base64.b64encode(hashlib.sha256(style[1]).digest()).decode()}'" in policy()
    # Nothing is loaded, nothing has a style or a listener of its own.
    assert not [attrs for _, attrs in elements.tags if {"src", "style", "onclick", "onload"} & attrs.keys()]
    assert not re.findall(rb"https?://(?!www\.w3\.org/2000/svg)", page)


def test_the_script_makes_no_markup_out_of_text() -> None:
    for forbidden in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "new Function",
        "fetch(",
    ):
        assert forbidden not in script_text(), forbidden


def test_hostile_text_stays_data(tmp_path: Path) -> None:
    page = collect.page([str(hostile_run(tmp_path).path)])
    data, elements = read(page)
    assert len(elements.scripts) == 2
    assert {tag for tag, _ in elements.tags} <= {
        "html", "head", "meta", "title", "style", "body", "a", "header", "main", "noscript", "footer", "script",
    }  # fmt: skip
    flat = [text if isinstance(text, str) else text[0] for text in data["texts"]]
    assert all(text in flat for text in HOSTILE[:5])
    assert ["x" * room.HEAD, 1_000_000 - room.HEAD - room.TAIL, "x" * room.TAIL] in data["texts"]
    assert len(page) < 200_000


def test_json_cannot_end_its_element() -> None:
    made = embedded({"a": "</script><!--&\u2028\u2029"})
    assert not re.search("[<>&\u2028\u2029]", made)
    assert json.loads(made) == {"a": "</script><!--&\u2028\u2029"}


def test_a_large_run_is_cut_and_the_page_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {f"p-{number:03d}": f"Make {number}." for number in range(60)}
    run = new_run(tmp_path / "large", asked)
    long = {
        name: [(f"{name} {index} " + "word " * 300, "ok" if index else "wrong") for index in range(4)] for name in asked
    }
    write_evaluation(run, 0, asked, long)
    write_evaluation(run, 1, asked, long)
    write_step(run, 0, long)
    whole = collect.page([str(run.path)])
    assert not read(whole)[0]["problems"]["notes"]
    monkeypatch.setattr(collect, "PAGE_BYTES", 250_000)
    page = collect.page([str(run.path)])
    assert 200_000 < len(page) <= 250_000 < len(whole)
    data, _ = read(page)
    (note,) = data["problems"]["notes"]
    assert re.fullmatch(r"the completions of \d+ problems are left out, of the easiest without a change first", note)
    told = r"\d+ of 60 groups of these steps are left out, those without a gradient first"
    assert re.fullmatch(told, data["groups"]["notes"][0])
    assert len(data["problems"]["rows"]) == 60


def test_even_the_list_of_problems_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {f"p-{number:04d}": "?" for number in range(1500)}
    run = new_run(tmp_path / "many", asked)
    write_evaluation(run, 0, asked, {name: [("a", "ok"), ("b", "wrong")] for name in asked})
    monkeypatch.setattr(collect, "PAGE_BYTES", 200_000)
    page = collect.page([str(run.path)])
    data, _ = read(page)
    kept = len(data["problems"]["rows"])
    assert 100 < kept < 1500
    assert (
        data["problems"]["notes"][0] == f"{1500 - kept:,} of 1,500 problems are left out: the easiest without a change"
    )
    assert len(page) <= 200_000


def test_a_run_without_evaluations_says_what_makes_them(tmp_path: Path) -> None:
    run = new_run(tmp_path / "fresh", ASKED)
    data, _ = read(collect.page([str(run.path)]))
    assert data["missing"] == [["fresh", f"rsgrpo eval --run {run.path}"]]
    assert (data["problems"], data["pairs"], data["groups"]["steps"], data["curves"]) == (None, {}, [], [])
    assert data["benchmark"] is None


def test_seeds_are_shown_as_one(tmp_path: Path) -> None:
    runs = [new_run(tmp_path / f"beta2-seed{seed}", ASKED, seed=seed) for seed in (1, 2)]
    other = new_run(tmp_path / "other", ASKED, advantage__estimator="grpo")
    for run, completions in zip([*runs, other], [AFTER, BEFORE, BEFORE], strict=True):
        write_evaluation(run, 3, ASKED, completions, ks=(1, 4))
        write_metrics(run, [{"reward_mean": 0.25 * run.config().seed}])
    data, _ = read(collect.page([str(other.path), *(str(run.path) for run in runs)]))
    assert [(arm["label"], arm["seeds"]) for arm in data["arms"]] == [("other@3", 1), ("beta2@3, 2 seeds", 2)]
    assert [curve["series"]["reward_mean"] for curve in data["curves"]] == [[[0.0]], [[0.375], [0.25], [0.5]]]
    # pass@4 of the seeds: (1 + 0 + 1) / 3 and (0 + 1 + 1) / 3.
    assert data["arms"][1]["curve"][-1][1] == pytest.approx(2 / 3)
    assert data["benchmark"]["seeds"] == 1  # what every arm has: problems are compared over as many


def test_seeds_of_both_sides_are_paired(tmp_path: Path) -> None:
    names = []
    for beta, by_seed in ((1.0, (BEFORE, BEFORE)), (2.0, (AFTER, BEFORE))):
        for seed, completions in enumerate(by_seed):
            run = new_run(tmp_path / f"beta{beta:g}-seed{seed}", ASKED, advantage__beta=beta, seed=seed)
            write_evaluation(run, 0, ASKED, BEFORE, ks=(1, 4))
            write_evaluation(run, 3, ASKED, completions, ks=(1, 4))
            names.append(str(run.path))
    data, _ = read(collect.page(names))
    assert [(arm["label"], arm["seeds"]) for arm in data["arms"]] == [
        ("base model", 2), ("beta1@3, 2 seeds", 2), ("beta2@3, 2 seeds", 2),
    ]  # fmt: skip
    row = data["pairs"]["1,2"]["rows"][0]  # pass@1: 1.25 / 3, and 1.5 / 3 in one of two seeds
    assert row["seeds"] == [pytest.approx(0.25 / 3), 0.0]
    assert row["difference"] == pytest.approx(0.125 / 3)
    assert row["p"] is None
    assert row["low"] < row["difference"] < row["high"]
    assert "intervals over problems and seeds; 3 problems, 4 samples each, 2 seeds." in data["pairs"]["1,2"]["sentence"]
    assert "3 problems, 4 samples each, 2 seeds." in data["pairs"]["0,2"]["sentence"]
    assert data["benchmark"]["seeds"] == 2
    rows = {problem["id"]: problem["right"] for problem in data["problems"]["rows"]}
    assert rows == {"p-1": [0, 0, 2], "p-2": [2, 2, 1], "p-3": [8, 8, 8]}  # of 8: four samples by two seeds


def test_grades_are_compared_by_their_mean(tmp_path: Path) -> None:
    runs = graded_runs(tmp_path)
    data, _ = read(collect.page([str(run.path) for run in runs]))
    assert (data["benchmark"]["graded"], data["benchmark"]["ks"]) == (True, [0])
    (row,) = data["pairs"]["0,1"]["rows"]
    assert (row["before"], row["after"]) == (pytest.approx(0.3), pytest.approx(0.35))  # p-3 has no reward
    assert data["pairs"]["0,1"]["sentence"].startswith("Against a@3, b@3 is higher in mean reward (+0.050 [")
    assert [problem["value"] for problem in data["problems"]["rows"]] == [[0.3, 0.35], [0.3, 0.35], [None, None]]
    assert data["visits"][0] == {"notes": ["Rewards are grades here, which are neither right nor wrong."]}


def test_with_many_runs_each_is_compared_with_the_baseline(tmp_path: Path) -> None:
    data, _ = read(collect.page([str(run.path) for run in many_runs(tmp_path)]))
    assert set(data["pairs"]) == {f"0,{arm}" for arm in range(1, 8)} | {f"{arm},0" for arm in range(1, 8)}


def test_the_baseline_can_be_named(tmp_path: Path) -> None:
    grpo, rs = two_runs(tmp_path)
    names = [f"GRPO={grpo.path}", f"RS={rs.path}"]
    assert read(collect.page(names, baseline="base model"))[0]["baseline"] == 0
    with pytest.raises(UsageError, match="no policy here is called 'XS'"):
        collect.page(names, baseline="XS")
    with pytest.raises(MissingError, match="no run at"):
        collect.page(["runs/none"])


def test_the_commands_make_the_same_run(tmp_path: Path) -> None:
    settings = {
        "rollout__group_size": 4,
        "update__learning_rate": 3e-4,
        "eval__k": [1, 4],
        "eval__num_samples": {"default": 8, "a.b": 4},
    }
    run = new_run(tmp_path / "first", ASKED, advantage__estimator="qae", advantage__level=0.25, **settings)
    (command,) = read(collect.page([str(run.path)]))[0]["runs"][0]["commands"]
    words = shlex.split(command)
    assert words[:4] == ["rsgrpo", "train", "--run", "first-again"]
    assert set(words[4::2]) == {"--set"}
    again = resolve(options.given({}, words[5::2]))
    assert again == run.config()


def test_the_command_writes_the_page(tmp_path: Path, cli: Cli) -> None:
    grpo, rs = two_runs(tmp_path)
    done = cli("report", grpo.path, rs.path, "--html", "out/page.html", "--json")
    assert done.json == {"html": "out/page.html", "bytes": (tmp_path / "out/page.html").stat().st_size}
    assert (tmp_path / "out/page.html").read_bytes() == collect.page([str(grpo.path), str(rs.path)])
    assert "page: out/page.html (" in cli("report", rs.path, "--html", "out/page.html").out
    refused = cli("report", rs.path, "--html", "page.pdf")
    assert (refused.code, "give a file that ends in .html" in refused.err) == (2, True)
    refused = cli("report", rs.path, "--html", "page.html", "--k", "1")
    assert (refused.code, "--k belongs to the table" in refused.err) == (2, True)
    refused = cli("report", rs.path, "--baseline", "x")
    assert (refused.code, "--baseline belongs to the page" in refused.err) == (2, True)
