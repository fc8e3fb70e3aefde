"""The page in headless Chromium: opened, clicked, resized, printed (make test-browser)."""

import base64
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rsgrpo_cli.core.estimators import estimator_function
from rsgrpo_cli.report.html import collect
from tests.report.html import chromium
from tests.report.html.chromium import Browser, written
from tests.report.html.written import (
    AFTER,
    HOSTILE,
    graded_runs,
    hostile_run,
    many_runs,
    new_run,
    sweep_of_runs,
    two_runs,
    uneven_run,
    write_step,
)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(chromium.missing() is not None, reason=chromium.missing() or ""),
]


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    with chromium.opened() as browser:
        yield browser


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Pages on the disk: of two runs, of a hostile one, and of one that has done nothing yet."""
    folder = tmp_path_factory.mktemp("pages")
    grpo, rs = two_runs(folder)
    fresh = new_run(folder / "fresh", {"p": "?"})
    pages = {
        "two": collect.page([f"GRPO={grpo.path}", f"RS={rs.path}"]),
        "one": collect.page([str(rs.path)]),
        "hostile": collect.page([str(hostile_run(folder).path)]),
        "fresh": collect.page([str(fresh.path)]),
        "graded": collect.page([str(run.path) for run in graded_runs(folder)]),
        "many": collect.page([str(run.path) for run in many_runs(folder)]),
        "uneven": collect.page([str(uneven_run(folder).path)]),
        "sweep": collect.page([str(sweep_of_runs(folder / "sweep")[0].path.parent)]),
    }
    return {name: written(page, folder / f"{name}.html") for name, page in pages.items()}


def at(chrome: Browser, address: str, width: int = 1280) -> Browser:
    """A browser that has just opened a page, with nothing noted yet."""
    chrome.open("data:text/html,<body data-ready=yes>")
    chrome.show(width)
    chrome.console()
    chrome.requests()
    chrome.open(address)
    return chrome


@pytest.mark.parametrize("name", ["two", "one", "hostile", "fresh", "graded", "many", "sweep"])
def test_it_opens_without_a_complaint_and_asks_for_nothing(
    chrome: Browser, addresses: dict[str, str], name: str
) -> None:
    at(chrome, addresses[name])
    headings = chrome.run("return [...document.querySelectorAll('h2')].map(h => h.textContent)")
    assert headings[0] == "Verdict"
    assert len(headings) == (8 if name in ("fresh", "many", "sweep") else 9)
    assert not chrome.console()
    assert chrome.requests() == [addresses[name]]


def test_the_policy_is_at_work(chrome: Browser, addresses: dict[str, str]) -> None:
    at(chrome, addresses["two"])
    chrome.run(
        """const s = document.createElement("script"); s.textContent = "window.hacked = 1"; document.body.append(s);
        const i = document.createElement("img"); i.src = "http://127.0.0.1:9/x.png"; document.body.append(i);"""
    )
    assert chrome.run("return window.hacked === undefined")
    complaints = " ".join(chrome.console())
    assert "script" in complaints
    assert "x.png" in complaints


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 768, 1280])
@pytest.mark.parametrize("name", ["two", "hostile", "fresh", "graded", "many", "sweep"])
def test_nothing_sticks_out_sideways(
    chrome: Browser, addresses: dict[str, str], name: str, width: int, scheme: str
) -> None:
    at(chrome, addresses[name], width)
    chrome.show(width, scheme=scheme)
    chrome.run("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert chrome.run("return document.documentElement.scrollWidth") <= width
    dark = chrome.run("return getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    assert dark == (scheme == "dark")


def test_charts_are_drawn_for_the_width_they_have(chrome: Browser, addresses: dict[str, str]) -> None:
    at(chrome, addresses["two"])
    width = "return document.querySelector('#passk .chart svg').viewBox.baseVal.width"
    wide = chrome.run(width)
    chrome.show(390)
    narrow = chrome.run(width)
    assert (500 < wide < 640, 300 < narrow <= 390) == (True, True)
    # Under each chart of evaluations or curves there is a table with its numbers.
    alone = (
        "return [...document.querySelectorAll('.chart')].filter(c => !c.parentElement.querySelector('table')).length"
    )
    assert chrome.run(alone) == 0


def test_another_baseline_changes_the_verdict(chrome: Browser, addresses: dict[str, str]) -> None:
    at(chrome, addresses["two"])
    assert chrome.text("#sentence").startswith("Against GRPO, RS ")
    chrome.run(
        """const list = document.querySelector("#verdict select"); list.value = "0";
        list.dispatchEvent(new Event("change"))"""
    )
    assert chrome.text("#sentence").startswith("Against base model, RS ")
    assert "against base model" in chrome.text("#changed p").lower()
    assert "Paired difference to base model" in chrome.text("#passk")


def test_what_changed_is_shown_side_by_side(chrome: Browser, addresses: dict[str, str]) -> None:
    at(chrome, addresses["two"])
    assert "1 problem newly solved and 1 newly lost, in 4 tries each" in chrome.text("#changed")
    assert "Make 1." in chrome.text("#changed .detail")
    chrome.click("#changed tr[data-id='p-2'] button")
    detail = chrome.text("#changed .detail")
    assert "Make 2." in detail
    assert "1 of 4 right" in detail
    assert "0 of 4 right" in detail
    assert "×4" in detail  # equal completions are folded


def shown(chrome: Browser) -> list[str]:
    found: list[str] = chrome.run("return [...document.querySelectorAll('#problems tbody tr')].map(r => r.dataset.id)")
    return found


def test_problems_are_filtered_and_searched(chrome: Browser, addresses: dict[str, str]) -> None:
    at(chrome, addresses["two"])
    assert shown(chrome) == ["p-1", "p-2", "p-3"]  # 2, 2 and 12 right of 12
    chrome.click("#problems [data-value=gained]")
    assert shown(chrome) == ["p-1"]
    chrome.click("#problems [data-value=always]")
    assert shown(chrome) == ["p-3"]
    chrome.click("#problems [data-value=truncated]")
    assert shown(chrome) == ["p-1"]
    chrome.click("#problems [data-value=all]")
    chrome.type("#search", "make 2")
    assert shown(chrome) == ["p-2"]


def test_the_first_match_is_opened(chrome: Browser, addresses: dict[str, str]) -> None:
    at(chrome, addresses["two"])
    address = "return location.hash"
    assert chrome.run(address) == ""  # only what somebody chose has an address
    chrome.click("#problems [data-value=always]")
    assert (selected(chrome), chrome.run(address)) == ("p-3", "#problem=p-3")
    assert "Make 3." in chrome.text("#problem")
    chrome.click("#problems [data-value=never]")
    assert chrome.run("return document.querySelectorAll('#problems tr[aria-selected=true]').length") == 0
    assert (chrome.text("#problem"), chrome.run(address)) == ("No problem matches.", "#problems")
    chrome.press("j")  # there is nowhere to go
    chrome.click("#problems [data-value=all]")
    assert selected(chrome) == "p-1"
    chrome.type("#search", "make 2")
    assert (selected(chrome), chrome.run(address)) == ("p-2", "#problem=p-2")
    assert not chrome.console()


def selected(chrome: Browser) -> str:
    return str(chrome.run("return document.querySelector('#problems tr[aria-selected=true]').dataset.id"))


def test_differences_have_signs(chrome: Browser, addresses: dict[str, str]) -> None:
    at(chrome, addresses["two"])
    tips = chrome.run(
        "return [...document.querySelectorAll('#passk .two > :last-child .chart title')].map(t => t.textContent)"
    )
    # RS minus GRPO at k = 1 is (1.5 - 1.25) / 3, and the base model's completions are GRPO's.
    assert len(tips) == 6
    assert [tip for tip in tips if tip.startswith("RS, k 1: +0.083 [−")]
    assert all("]" in tip and re.search(r": (0|[+−].*) \[([+−]|0)[^ ]*, ([+−]|0)", tip) for tip in tips)
    ticks = chrome.run(
        "return [...document.querySelectorAll('#passk .two > :last-child .chart .end')].map(t => t.textContent)"
    )
    assert all(re.match(r"[+−]|0(\.0*)?$", tick) for tick in ticks), ticks
    table = chrome.run("return document.querySelector('#passk .two > :last-child details').textContent")
    assert "[+" in table or "[−" in table
    assert re.search(r"\[[0-9.]*[1-9]", table) is None


def test_keys_go_through_the_problems(chrome: Browser, addresses: dict[str, str]) -> None:
    at(chrome, addresses["two"])
    assert selected(chrome) == "p-1"
    chrome.press("jj")
    assert (selected(chrome), chrome.run("return location.hash")) == ("p-3", "#problem=p-3")
    chrome.press("k")
    assert (selected(chrome), chrome.run("return location.hash")) == ("p-2", "#problem=p-2")
    assert "Make 2." in chrome.text("#problem")
    chrome.press("/")
    chrome.press("jk")  # typed now
    assert chrome.run("return document.activeElement.id + document.getElementById('search').value") == "searchjk"


def test_a_problem_has_an_address(chrome: Browser, addresses: dict[str, str]) -> None:
    at(chrome, addresses["two"] + "#problem=p-3")
    assert "Make 3." in chrome.text("#problem")
    chrome.run("location.hash = '#problem=nothing'")
    chrome.run("location.hash = '#problem=%'")
    chrome.click("#problem a.perma")
    assert chrome.run("return location.hash") == "#problem=p-3"
    assert not chrome.console()


def advantages(chrome: Browser) -> dict[int, float]:
    """The advantages that the page computed, by the number of the completion."""
    rows = """return [...document.querySelectorAll("table.group tbody tr")].map(
        r => [r.querySelector("button").textContent, r.querySelector(".chosen").dataset.value])"""
    return {int(name.lstrip("#")): float(value) for name, value in chrome.run(rows)}


def test_the_page_computes_advantages(chrome: Browser, addresses: dict[str, str]) -> None:
    at(chrome, addresses["one"])
    rewards = [float(status == "ok") for _, status in AFTER["p-1"]]
    data = json.loads(chrome.run("return document.getElementById('data').textContent"))
    trained = [sample[4] for sample in data["groups"]["steps"][-1]["groups"][0]["samples"]]
    found = advantages(chrome)
    np.testing.assert_allclose([found[number] for number in range(4)], trained, rtol=1e-9)
    move(chrome, "#slider-beta", 9)
    found = advantages(chrome)
    expected = estimator_function("rs_grpo", beta=9.0)(rewards)
    np.testing.assert_allclose([found[number] for number in range(4)], expected, rtol=1e-9)
    choose(chrome, "#groups .controls:nth-of-type(2) select", "pkpo")
    move(chrome, "#slider-k", 2)
    found = advantages(chrome)
    expected = estimator_function("pkpo", k=2)(rewards)
    np.testing.assert_allclose([found[number] for number in range(4)], expected, rtol=1e-9)
    chrome.click("#as-trained")
    np.testing.assert_allclose([advantages(chrome)[number] for number in range(4)], trained, rtol=1e-9)
    assert not chrome.console()


def move(chrome: Browser, selector: str, value: float) -> None:
    script = (
        "const s = document.querySelector(arguments[0]); s.value = arguments[1]; s.dispatchEvent(new Event('input'))"
    )
    chrome.run(script, selector, value)


def choose(chrome: Browser, selector: str, value: str) -> None:
    script = (
        "const s = document.querySelector(arguments[0]); s.value = arguments[1]; s.dispatchEvent(new Event('change'))"
    )
    chrome.run(script, selector, value)


def test_every_estimator_can_be_chosen(chrome: Browser, addresses: dict[str, str]) -> None:
    at(chrome, addresses["one"])
    names = chrome.run(
        "return [...document.querySelectorAll('#groups .controls:nth-of-type(2) select')[0].options].map(o => o.value)"
    )
    assert "rs_grpo" in names
    for name in names:
        choose(chrome, "#groups .controls:nth-of-type(2) select", name)
        assert len(advantages(chrome)) == 4, name
    assert not chrome.console()


def test_tokens_are_shaded(chrome: Browser, addresses: dict[str, str]) -> None:
    at(chrome, addresses["one"])
    assert chrome.run("return [...document.querySelectorAll('.token')].map(t => t.textContent)") == ["a", "1"]
    assert chrome.run("return document.querySelector('.token').title") == "−log p, nats: 0.500"
    chrome.click("#tokens [data-value=entropy]")
    assert chrome.run("return document.querySelector('.token').title") == "entropy, nats: 0.700"
    assert "two equally likely" in chrome.text("#tokens")
    chrome.click("#tokens [data-value=ratio]")
    assert chrome.run("return document.querySelector('.token').title") == "ratio: 1.105"  # exp(0.1)
    choose(chrome, "#groups .controls select", "0")  # the step before, for which the trainer's numbers were not kept
    assert "were not kept" in chrome.text("#tokens")


def test_charts_have_three_ticks_or_more(chrome: Browser, addresses: dict[str, str]) -> None:
    for name in ("two", "sweep", "graded", "many"):
        at(chrome, addresses[name])
        counts = chrome.run(
            "return [...document.querySelectorAll('.chart svg')].map(s => s.querySelectorAll('text.end').length)"
        )
        assert all(3 <= count <= 8 for count in counts), (name, counts)


def test_the_base_model_begins_every_curve_of_evaluations(chrome: Browser, addresses: dict[str, str]) -> None:
    at(chrome, addresses["two"])  # it was evaluated in one of the two runs
    card = "[...document.querySelectorAll('#curves .card')].find(c => c.textContent.startsWith('pass@1 on puzzles'))"
    rows = chrome.run(f"return [...{card}.querySelectorAll('tr')].map(r => [...r.children].map(c => c.textContent))")
    assert rows[0] == ["policy", "GRPO", "RS"]
    assert rows[1][0] == "0"
    assert rows[1][1] == rows[1][2] != "–"


def test_curves_of_a_sweep_have_bands_over_its_seeds(chrome: Browser, addresses: dict[str, str]) -> None:
    at(chrome, addresses["sweep"])
    cards = chrome.run(
        "return [...document.querySelectorAll('#curves .card')].map(c => [c.querySelector('h3').textContent,"
        "c.querySelectorAll('.band').length, c.querySelectorAll('.line').length])"
    )
    assert cards == [
        ["mean reward", 2, 2],
        ["pass@1 on puzzles, by policy", 2, 2],
        ["pass@4 on puzzles, by policy", 2, 2],
    ]
    text = chrome.text("#curves")
    assert "thick lines" not in text  # of three steps
    assert "learning rate 0.0001 (beta1@6, 2 seeds), 0.0002 (beta2@6, 2 seeds)." in text
    chrome.run("document.querySelectorAll('#curves details').forEach(d => { d.open = true; })")
    # pass@1 of policy 3: (0 + 1/4 + 1) / 3 of one seed, (2/4 + 0 + 1) / 3 of the other.
    assert "0.458 [0.417, 0.500]" in chrome.text("#curves")


def test_hostile_text_is_only_text(chrome: Browser, addresses: dict[str, str]) -> None:
    at(chrome, addresses["hostile"])
    for _ in range(2):
        chrome.press("j")
    assert chrome.run("return window.hacked === undefined")
    assert chrome.run("return document.querySelectorAll('main img, main style, main base, main script').length") == 0
    assert chrome.run("return document.scripts.length") == 2
    text = chrome.text("#problem")
    assert HOSTILE[0] in text
    assert HOSTILE[1] in text
    assert "\\x1b[31mred\\x1b[0m and \\u202ereversed\\u202c \\u2028 line" in text
    assert "999,100 characters left out" in text
    assert "مرحبا" in text
    assert not chrome.console()


def test_what_is_missing_names_the_command(chrome: Browser, addresses: dict[str, str]) -> None:
    at(chrome, addresses["fresh"])
    text = chrome.text("main")
    for command in ("rsgrpo eval --run ", "rsgrpo train --run "):
        assert command in text


def test_it_prints(chrome: Browser, addresses: dict[str, str]) -> None:
    at(chrome, addresses["two"])
    chrome.show(700, scheme="dark", media="print")
    assert chrome.run("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert chrome.run("return getComputedStyle(document.querySelector('nav')).display") == "none"
    assert chrome.run("return document.documentElement.scrollWidth") <= 700
    printed = base64.b64decode(chrome.command("Page.printToPDF", printBackground=True)["data"])
    assert printed.startswith(b"%PDF")


def test_view_shows_a_run_at_work(chrome: Browser, tmp_path: Path) -> None:
    _, rs = two_runs(tmp_path)
    command = [sys.executable, "-m", "rsgrpo_cli", "view", str(rs.path), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        address: Any = json.loads(server.stdout.readline())["url"]
        at(chrome, address)
        options = "return [...document.querySelectorAll('#groups .controls select')[0].options].map(o => o.text)"
        assert chrome.run(options) == ["rs, step 0", "rs, step 1"]
        write_step(rs, 2, AFTER)
        chrome.open(address)
        assert chrome.run(options) == ["rs, step 0", "rs, step 1", "rs, step 2"]
        assert not chrome.console()
        server.terminate()
        assert server.wait(20) == 0


def test_a_difference_stands_beside_the_values_that_it_is_of(chrome: Browser, addresses: dict[str, str]) -> None:
    # Of the first two samples, as many as the base model has, it has none right; of all four, half.
    at(chrome, addresses["uneven"])
    cards = chrome.run("return [...document.querySelectorAll('#verdict .card')].map((card) => card.innerText)")
    assert [card.split("\n")[:2] for card in cards] == [["pass@1, uneven@3", "0.000"], ["pass@2, uneven@3", "0.000"]]
    assert "against 0.500 of base model" in cards[0]
    verdict = chrome.run("return document.querySelector('#verdict').innerText")
    assert "compared by the first 2 samples of each problem" in verdict
    assert "uneven@3 has 4" in verdict


def test_a_group_without_rewards_is_not_called_wrong(chrome: Browser, addresses: dict[str, str]) -> None:
    at(chrome, addresses["graded"])
    listed = chrome.run("return [...document.querySelectorAll('#groups select option')].map((one) => one.textContent)")
    assert [one for one in listed if "p-3" in one] == ["no rewards · p-3"]
