"""A run directory with completions that a test chooses, evaluated and trained on without a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from rsgrpo_cli.artifacts import Lineage, combined_id, read_lineage, write_json, write_table
from rsgrpo_cli.config import resolve
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.run.step_dir import rewards_of
from rsgrpo_cli.schemas import (
    ADVANTAGES,
    METRICS,
    POLICY_LOGPROBS,
    PROBLEMS,
    PROMPTS,
    REWARDS,
    ROLLOUTS,
    SUMMARY,
)
from rsgrpo_cli.stages.advantage import advantage
from rsgrpo_cli.stages.evaluate import evaluate
from tests.tables import table_of

Completion = tuple[str, str]
"""A text, and the verdict on it."""
Completions = Mapping[str, Sequence[Completion]]
"""Prompt -> its completions."""


CUT = "…"
"""A completion that ends so was cut at the token limit, whatever the verdict on it."""
ASKED = {"p-1": "Make 1.", "p-2": "Make 2.", "p-3": "Make 3."}
BEFORE = {
    "p-1": [("a1", "wrong"), ("a1", "wrong"), ("a2", "wrong"), ("a3", "truncated")],
    "p-2": [("b1", "ok"), ("b2", "wrong"), ("b2", "wrong"), ("b2", "wrong")],
    "p-3": [("c1", "ok")] * 4,
}
AFTER = {
    "p-1": [("a1", "wrong"), ("a4", "ok"), ("a4", "ok"), ("a5", "no_box")],
    "p-2": [("b2", "wrong")] * 4,
    "p-3": [("c1", "ok")] * 4,
}
HOSTILE = [
    "</script><script>window.hacked = 1</script>",
    "<!-- <img src=x onerror='window.hacked = 2'> -->",
    "\u001b[31mred\u001b[0m and \u202ereversed\u202c \u2028 line \u2029 end",
    "مرحبا 👩‍👩‍👧 \U0001f600 %%DATA%% ${window.hacked = 3} & &lt; \\u003c",
    "<style>*{display:none}</style><base href='http://example.org'>",
    "x" * 1_000_000,
]


def new_run(path: Path, asked: Mapping[str, str], **settings: Any) -> RunDir:
    """A run with training problems; their reference answers are their ids. Settings as `advantage__beta=3.0`."""
    named = {name.replace("__", "."): value for name, value in settings.items()}
    run = RunDir.create(path, resolve({"train.steps": 9} | named))
    write_table(run.prompts, _prompts(asked), PROMPTS, Lineage("prepare", {"dataset": "made"}, {}))
    return run


def _prompts(asked: Mapping[str, str]) -> pa.Table:
    rows = [
        {"prompt_id": name, "ground_truth": name, "task": "countdown", "messages": [{"role": "user", "content": text}]}
        for name, text in sorted(asked.items())
    ]
    return table_of(PROMPTS, rows)


def write_evaluation(
    run: RunDir, version: int, asked: Mapping[str, str], completions: Completions, ks: Sequence[int] = (1, 2)
) -> None:
    """An evaluation on the benchmark "puzzles", every problem with as many completions."""
    prompts = _prompts(asked)
    write_table(run.benchmark("puzzles"), prompts, PROMPTS, Lineage("prepare", {"dataset": "puzzles"}, {}))
    folder, samples = run.evaluation(version, "puzzles"), len(next(iter(completions.values())))
    part = f"part-00000-{samples:05d}-00000.parquet"
    sampled = {"engine": "hf", "temperature": 1.0, "top_p": 1.0, "max_tokens": 20}
    inputs = {
        "prompts": read_lineage(run.benchmark("puzzles"), PROMPTS).id,
        "policy": f"policy-{version}" if version else "base",
    }
    rollouts, rewards = _rollouts(completions, ""), _rewards(completions, "")
    write_table(folder / "rollouts" / part, rollouts, ROLLOUTS, Lineage("rollout", sampled, inputs, version))
    made_from = read_lineage(folder / "rollouts" / part, ROLLOUTS).id
    graded = Lineage("score", {"identity": "math 1"}, {"rollouts": made_from})
    write_table(folder / "rewards" / part, rewards, REWARDS, graded)
    ids = {"rollouts": combined_id([made_from])}
    ids["rewards"] = combined_id([read_lineage(folder / "rewards" / part, REWARDS).id])
    lineage = Lineage("eval", {"num_samples": samples, "k": list(ks)}, ids, version, outputs={"benchmark": "puzzles"})
    problems, summary = evaluate(rollouts, rewards, prompts, tuple(ks), samples)
    write_table(folder / "problems.parquet", problems, PROBLEMS, lineage)
    write_table(folder / "summary.parquet", summary, SUMMARY, lineage)


def write_step(run: RunDir, number: int, completions: Completions, *, trained: bool = False) -> None:
    """A step with rollouts, rewards and advantages; with the trainer's log-probabilities too where `trained`."""
    rollouts, rewards = _rollouts(completions, f"{number}:"), _rewards(completions, f"{number}:")
    part, folder = "part-00000", run.rollouts(number)
    sampled = run.config().rollout.decisive() | {"engine": "dummy"}
    inputs = {"prompts": read_lineage(run.prompts, PROMPTS).id, "policy": "base"}
    write_table(folder / f"{part}.parquet", rollouts, ROLLOUTS, Lineage("rollout", sampled, inputs, number))
    rollouts_id = read_lineage(folder / f"{part}.parquet", ROLLOUTS).id
    write_json(
        folder / "manifest.json",
        {"id": combined_id([rollouts_id]), "rows": len(rollouts), "parts": {part: rollouts_id}},
    )
    graded = Lineage("score", run.config().score.decisive(), {"rollouts": rollouts_id})
    write_table(run.rewards(number) / f"{part}.parquet", rewards, REWARDS, graded)
    own = run.config().advantage
    made_from = rewards_of(run, number).id
    lineage = Lineage("advantage", own.decisive(), {"rewards": made_from})
    write_table(run.advantages(number), advantage(rewards, own), ADVANTAGES, lineage)
    if trained:
        rows = [
            {key: row[key] for key in ("group_id", "sample_index", "policy_logprobs", "entropies")}
            for row in _tokens(rollouts)
        ]
        made_of = {
            "rollouts": combined_id([rollouts_id]),
            "advantages": read_lineage(run.advantages(number), ADVANTAGES).id,
        }
        lineage = Lineage("update", {}, made_of)
        write_table(run.policy_logprobs(number), table_of(POLICY_LOGPROBS, rows), POLICY_LOGPROBS, lineage)


def _tokens(rollouts: pa.Table) -> list[dict[str, Any]]:
    """The trainer's log-probabilities, a tenth above the sampler's, and entropies."""
    return [
        row
        | {"policy_logprobs": [value + 0.1 for value in row["sampling_logprobs"]]}
        | {"entropies": [0.7 for _ in row["sampling_logprobs"]]}
        for row in rollouts.to_pylist()
    ]


def write_metrics(run: RunDir, rows: Sequence[Mapping[str, Any]]) -> None:
    """Metrics of steps 0, 1, ..."""
    own = [{"step": step, "estimator": "rs_grpo"} | dict(row) for step, row in enumerate(rows)]
    write_table(run.metrics, table_of(METRICS, own), METRICS, Lineage("train", {}, {}))


def _keys(completions: Completions, prefix: str) -> list[tuple[dict[str, Any], str, Completion]]:
    return [
        ({"group_id": f"{prefix}{name}", "sample_index": index}, name, each)
        for name, own in sorted(completions.items())
        for index, each in enumerate(own)
    ]


def _rollouts(completions: Completions, prefix: str) -> pa.Table:
    rows = []
    for key, name, (text, status) in _keys(completions, prefix):
        ids = list(text.encode())[:2000]
        reason = "length" if status == "truncated" or text.endswith(CUT) else "stop"
        found = {"prompt_id": name, "completion": text, "completion_ids": ids, "finish_reason": reason}
        rows.append(key | found | {"sampling_logprobs": [-0.5] * len(ids)})
    return table_of(ROLLOUTS, rows)


def _rewards(completions: Completions, prefix: str) -> pa.Table:
    rows = [
        key | {"reward": _reward(text, status), "reward_status": status, "extracted_answer": text[-20:]}
        for key, _, (text, status) in _keys(completions, prefix)
    ]
    return table_of(REWARDS, rows)


def two_runs(folder: Path) -> tuple[RunDir, RunDir]:
    """One trained with GRPO and one with RS-GRPO, both of two steps, and the base model, on three puzzles."""
    grpo = new_run(folder / "grpo", ASKED, advantage__estimator="grpo")
    rs = new_run(folder / "rs", ASKED, advantage__beta=4.0)
    write_evaluation(grpo, 0, ASKED, BEFORE, ks=(1, 2, 4))
    write_evaluation(grpo, 3, ASKED, BEFORE, ks=(1, 2, 4))
    write_evaluation(rs, 3, ASKED, AFTER, ks=(1, 2, 4))
    for run in (grpo, rs):
        write_step(run, 0, BEFORE)
        write_step(run, 1, AFTER, trained=True)
        write_metrics(run, [{"reward_mean": 0.25, "entropy": 0.5}, {"reward_mean": 0.5, "entropy": 0.4}])
    return grpo, rs


def graded_runs(folder: Path) -> list[RunDir]:
    """Two runs whose rewards are grades; one problem got none."""
    runs = [new_run(folder / name, ASKED, advantage__beta=beta) for name, beta in (("a", 1.0), ("b", 2.0))]
    for run, more in zip(runs, ("", "x"), strict=True):
        graded = {name: [(f"{name}{more}", "scored"), (name, "scored")] for name in ASKED}
        graded["p-3"] = [("none", "skipped")] * 2
        write_evaluation(run, 3, ASKED, graded)
        write_step(run, 0, graded)
    return runs


def uneven_run(folder: Path) -> RunDir:
    """A run whose last policy was sampled twice as often as the base model, and was right only in the second half."""
    run = new_run(folder / "uneven", ASKED, advantage__beta=4.0)
    write_evaluation(run, 0, ASKED, {name: [("1", "ok"), ("2", "wrong")] for name in ASKED})
    more = [("2", "wrong"), ("3", "wrong"), ("1", "ok"), ("1", "ok")]
    write_evaluation(run, 3, ASKED, dict.fromkeys(ASKED, more), ks=(1, 2, 4))
    return run


def many_runs(folder: Path) -> list[RunDir]:
    """More runs than are all compared with one another."""
    runs = [
        new_run(folder / f"run-{beta}-with-quite-a-long-name", ASKED, advantage__beta=float(beta)) for beta in range(8)
    ]
    for run in runs:
        write_evaluation(run, 3, ASKED, AFTER)
        write_metrics(run, [{"reward_mean": 0.1 * step, "entropy": 0.5 - 0.1 * step} for step in range(3)])
    return runs


def sweep_of_runs(folder: Path) -> list[RunDir]:
    """A sweep of two betas by two seeds, and what it measured the base models in, from which its cells were forked."""
    bases = [new_run(folder / f"base-seed{seed}-ab12", ASKED, seed=seed) for seed in (0, 1)]
    cells = []
    for beta, last in ((1.0, BEFORE), (2.0, AFTER)):
        for seed, base in enumerate(bases):
            origin = {"run": str(base.path), "step": 0}
            config = resolve({"train.steps": 6, "advantage.beta": beta, "seed": seed})
            run = RunDir.create(folder / f"beta{beta:g}-seed{seed}", config, forked_from=origin)
            write_table(run.prompts, _prompts(ASKED), PROMPTS, Lineage("prepare", {"dataset": "made"}, {}))
            for version, completions in ((0, BEFORE), (3, AFTER if seed else BEFORE), (6, last)):
                write_evaluation(run, version, ASKED, completions, ks=(1, 4))
            write_metrics(run, [{"reward_mean": 0.1 * (step + seed), "lr": 1e-4 * beta} for step in range(3)])
            cells.append(run)
    for base in bases:
        write_evaluation(base, 0, ASKED, BEFORE, ks=(1, 4))
    return cells


def hostile_run(folder: Path) -> RunDir:
    """A run whose model, problems and ids try to become part of the page."""
    asked = {"</title><b>": HOSTILE[0], "p-2": HOSTILE[1]}
    run = new_run(folder / "hostile", asked)
    right = {name: [(text, "ok" if index % 2 else "wrong") for index, text in enumerate(HOSTILE)] for name in asked}
    write_evaluation(run, 0, asked, right)
    write_evaluation(run, 1, asked, right)
    write_step(run, 0, right)
    return run


def _reward(text: str, status: str) -> float | None:
    """1 or 0 by the verdict; where there is none (scored), a tenth of the length of the text."""
    return {"ok": 1.0, "scored": len(text) / 10, "skipped": None}.get(status, 0.0)
