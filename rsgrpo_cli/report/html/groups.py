"""Groups of training steps: completions with verdicts and advantages, and their tokens where there is room."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from math import isfinite
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from rsgrpo_cli.artifacts import read_table
from rsgrpo_cli.report.html.problems import GOLD_SHOWN, asked, status_number
from rsgrpo_cli.report.html.room import Room, Texts, cost, cut
from rsgrpo_cli.report.html.vocabulary import Vocabulary
from rsgrpo_cli.report.tokens import trainers_numbers
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.run.staleness import Freshness
from rsgrpo_cli.run.step_dir import Step, stage_command
from rsgrpo_cli.schemas import KEYS, POLICY_LOGPROBS, PROMPTS, key_of
from rsgrpo_cli.wording import counted, plural, verb

STEPS_SHOWN = 5
"""Steps of a run whose groups are shown: the first, the newest, and some between."""
RUNS_SHOWN = 6
"""Runs whose groups are shown."""
MOST_TOKENS = 600
"""Tokens of a completion that are shown."""

_TOKEN_LISTS = ("completion_ids", "sampling_logprobs")
_OF_THE_TRAINER = ("policy_logprobs", "entropies")

_TAG = "trainer"
_STALE = (
    "The trainer's numbers are of rollouts or advantages that have been made again since. An update notes them anew:"
)
_NOT_KEPT = (
    "The trainer's numbers were not kept: older versions did not, and gc removes them. An update keeps them, for "
    "groups with a gradient; this one does so beside the run's own, and the page of {place} shows them:"
)

Row = dict[str, Any]


class Groups:
    """The groups of some steps of a run.

    Args:
        run: The run.
    """

    def __init__(self, run: RunDir) -> None:
        self.run = run
        compared = [step for step in (Step(run, number) for number in run.steps()) if step.advantages]
        whole = [step.number for step in compared if _is_whole(step)]
        self.steps = _chosen(whole)
        less = len(compared) - len(whole)
        lost = f"{counted(less, 'step')} of {run.name} {verb(less, 'has')} lost the samples"
        self.notes = [f"{lost}, and {verb(less, 'is')} not shown"] if less else []
        self.vocabulary = Vocabulary(run, self.steps)
        self._prompts: dict[str, tuple[str, str]] | None = None

    def settings(self, step: int) -> dict[str, Any]:
        """The estimator's settings of a step, with the beta that a schedule gave."""
        lineage = Step(self.run, step).advantages.first
        found = dict(lineage.config)
        if "beta" in lineage.outputs:
            found["beta"] = float(lineage.outputs["beta"])
        return found

    def of(self, step: int) -> list[list[Row]]:
        """The groups of a step, those with a gradient first, the hardest first; rows of completions each."""
        made = Step(self.run, step)
        table = made.rollouts.table([*KEYS, "prompt_id", "completion", "finish_reason", *_TOKEN_LISTS])
        rows: list[Row] = _shortened(table).to_pylist()
        rewards = made.rewards.table([*KEYS, "reward", "reward_status", "extracted_answer"]).to_pylist()
        advantages = made.advantages.table([*KEYS, "advantage", "group_status"]).to_pylist()
        trained = self._of_the_trainer(step)
        groups: dict[str, list[Row]] = defaultdict(list)
        for row, graded, compared in zip(rows, rewards, advantages, strict=True):
            row |= graded | compared
            row |= trained.get(key_of(row), {"policy_logprobs": [], "entropies": []})
            groups[row["group_id"]].append(row)
        return sorted(groups.values(), key=_interest)

    def trainers_numbers(self, step: int) -> Freshness:
        """Whether the trainer's numbers are there, and are of the completions that are there now."""
        return trainers_numbers(Step(self.run, step))

    def told_of_the_trainer(self, step: int) -> list[str] | None:
        """Why the trainer's numbers are not shown, and the command that makes them; None where they are."""
        state = self.trainers_numbers(step)
        if state == Freshness.CURRENT:
            return None
        beside = self.run.beside
        used = ["--advantages", beside.advantages] if beside and beside.advantages and step == beside.step else []
        if state == Freshness.STALE:
            tagged = ["--tag", beside.tag] if beside and step == beside.step else []
            again = stage_command(self.run, step, "updates", *used, *tagged, "--force")
            return [_STALE, again]
        make = stage_command(self.run, step, "updates", *used, "--tag", _TAG)
        return [_NOT_KEPT.format(place=f"{self.run.path}@{step + 1}.{_TAG}"), make]

    def _of_the_trainer(self, step: int) -> dict[tuple[str, int], Row]:
        """What the trainer said of each completion's tokens, where that was kept."""
        if self.trainers_numbers(step) != Freshness.CURRENT:
            return {}
        table = read_table(self.run.policy_logprobs(step), POLICY_LOGPROBS)
        lists = [_first_tokens(table[name]).to_pylist() for name in _OF_THE_TRAINER]
        keys = zip(*(table[key].to_pylist() for key in KEYS), strict=True)
        rows = [{"policy_logprobs": said, "entropies": entropies or []} for said, entropies in zip(*lists, strict=True)]
        return dict(zip(keys, rows, strict=True))

    def prompt(self, prompt_id: str) -> tuple[str, str]:
        """Text and reference answer of a problem; both empty where the problems are gone."""
        if self._prompts is None:
            self._prompts = {}
            if self.run.prompts.is_file():
                table = read_table(self.run.prompts, PROMPTS, ["prompt_id", "messages", "ground_truth"])
                self._prompts = {
                    row["prompt_id"]: (asked(row["messages"]), row["ground_truth"]) for row in table.to_pylist()
                }
        return self._prompts.get(prompt_id, ("", ""))


def shown(runs: Sequence[RunDir], texts: Texts, room: Room, token_room: Room, statuses: list[str]) -> dict[str, Any]:
    """The groups of the page, by run and step, as far as there is room: each step gets as much.

    Args:
        runs: The runs.
        texts: The texts of the page.
        room: What there is for the completions.
        token_room: What there is for their tokens.
        statuses: The verdicts of the page; those that are new are appended.
    """
    sources = [Groups(run) for run in runs[:RUNS_SHOWN]]
    steps = [(number, source, step) for number, source in enumerate(sources) for step in source.steps]
    notes = [f"groups of the first {RUNS_SHOWN} runs only"] if len(runs) > RUNS_SHOWN else []
    notes += [note for source in sources for note in source.notes]
    pages: list[dict[str, Any]] = []
    total = 0
    for left, (number, source, step) in zip(range(len(steps), 0, -1), steps, strict=True):
        own, own_tokens = room.share(left), token_room.share(left)
        every = source.of(step)
        made = [_group(source, rows, texts, own, own_tokens, statuses) for rows in every]
        kept = [group for group in made if group]
        about = {"run": number, "step": step, "settings": source.settings(step)}
        pages.append(about | {"trainer": source.told_of_the_trainer(step), "groups": kept})
        room.give_back(own)
        token_room.give_back(own_tokens)
        total += len(every)
    less = total - sum(len(page["groups"]) for page in pages)
    if less:
        told = f"{less:,} of {total:,} {plural(total, 'group')} of these steps {verb(less, 'is')} left out"
        notes.append(f"{told}, those without a gradient first")
    return {
        "steps": pages,
        "pieces": [source.vocabulary.pieces for source in sources],
        "spelled": [source.vocabulary.is_known for source in sources],
        "notes": notes,
    }


def _group(
    source: Groups, rows: Sequence[Row], texts: Texts, room: Room, token_room: Room, statuses: list[str]
) -> dict[str, Any] | None:
    prompt, gold = source.prompt(rows[0]["prompt_id"])
    samples = [_sample(row, statuses) for row in rows]
    numbers = texts.add([prompt, *(row["completion"] for row in rows)], room, cost(samples) + 8 * len(rows) + 100)
    if numbers is None:
        return None
    for sample, number, row in zip(samples, numbers[1:], rows, strict=True):
        tokens = _tokens(row, source.vocabulary)
        sample[0] = number
        sample[-1] = tokens if token_room.take(cost(tokens)) else None
    return {
        "id": rows[0]["prompt_id"],
        "status": rows[0]["group_status"],
        "prompt": numbers[0],
        "gold": cut(gold, GOLD_SHOWN, 0),
        "samples": samples,
    }


def _sample(row: Row, statuses: list[str]) -> list[Any]:
    """Text, reward, verdict, extracted answer, advantage, length in tokens, whether it was cut, its tokens."""
    answer = row["extracted_answer"]
    shown = None if answer is None else cut(answer, GOLD_SHOWN, 0)
    verdict, length = status_number(row["reward_status"], statuses), row["length"]
    return [0, row["reward"], verdict, shown, row["advantage"], length, int(row["finish_reason"] == "length"), None]


def _tokens(row: Row, vocabulary: Vocabulary) -> list[Any]:
    """Pieces, -log p of the sampler; where the trainer's numbers were kept, trainer minus sampler and the entropies."""
    logprobs = row["sampling_logprobs"]
    surprise = [_rounded(None if logprob is None else -logprob) for logprob in logprobs]
    difference = [
        _rounded(None if one is None or other is None else one - other)
        for one, other in zip(row["policy_logprobs"], logprobs, strict=False)
    ]
    return [vocabulary.numbers(row["completion_ids"]), surprise, difference, [*map(_rounded, row["entropies"])]]


def _shortened(table: pa.Table) -> pa.Table:
    """Rollouts with the first tokens of each completion, and how many there are of it."""
    table = table.append_column("length", pc.list_value_length(table["completion_ids"]))
    for name in _TOKEN_LISTS:
        table = table.set_column(table.schema.get_field_index(name), name, _first_tokens(table[name]))
    return table


def _first_tokens(lists: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.list_slice(lists, 0, MOST_TOKENS)


def _rounded(value: float | None) -> float | None:
    """To three digits; also of the smallest differences, which tell rounding from nothing at all."""
    return None if value is None or not isfinite(value) else float(f"{value:.3g}") + 0.0


def _chosen(steps: Sequence[int]) -> list[int]:
    """Some steps, spread evenly, with the first and the last."""
    if len(steps) <= STEPS_SHOWN:
        return list(steps)
    return [steps[round(at * (len(steps) - 1) / (STEPS_SHOWN - 1))] for at in range(STEPS_SHOWN)]


def _is_whole(step: Step) -> bool:
    """Whether the step has all that is shown: samples, and a verdict and an advantage for each."""
    if step.manifest is None or step.lost_rollouts or not step.rewards or not step.advantages:
        return False
    return step.rollouts.rows == step.rewards.rows == step.advantages.rows


def _interest(rows: Sequence[Row]) -> tuple[int, float, str]:
    """Groups with a gradient first, then those with fewer right answers."""
    status, rewards = rows[0]["group_status"], [row["reward"] or 0.0 for row in rows]
    return (0 if status in ("mixed", "shaped") else 1, sum(rewards), rows[0]["group_id"])
