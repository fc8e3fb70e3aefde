from collections.abc import Mapping, Sequence

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsgrpo_cli.engines.dummy import DummyEngine
from rsgrpo_cli.engines.types import Sampling
from rsgrpo_cli.errors import UsageError
from rsgrpo_cli.schemas import KEYS, PROMPTS, ROLLOUTS
from rsgrpo_cli.stages import rollout as stage
from rsgrpo_cli.stages.rollout import draw_order, further_parts, prompts_to_draw

SAMPLING = Sampling(1.0, 1.0, 32)


def prompts(count: int) -> pa.Table:
    rows = [
        dict.fromkeys(PROMPTS.schema.names)
        | {"prompt_id": f"p-{index:06d}", "messages": [{"role": "user", "content": str(index)}]}
        for index in range(count)
    ]
    return pa.Table.from_pylist(rows)


def sample(count: int, parts: list[stage.Part]) -> list[pa.Table]:
    made = stage.rollout(
        prompts(count), parts, DummyEngine(), SAMPLING, seed_parts=(0, 5), group_prefix="000005:", policy_version=5
    )
    return [table for _, table in made]


def test_an_epoch_visits_every_prompt_once() -> None:
    # 10 prompts, 3 a step: three steps per epoch, one prompt left out of each.
    steps = [draw_order(10, seed=1, step=step, prompts_per_step=3)[:3] for step in range(6)]
    for epoch in (steps[:3], steps[3:]):
        seen = [row for rows in epoch for row in rows]
        assert len(set(seen)) == 9
    assert steps[:3] != steps[3:]


def test_more_prompts_a_step_than_there_are() -> None:
    with pytest.raises(UsageError, match="takes 4 prompts and there are 3") as raised:
        draw_order(3, seed=0, step=0, prompts_per_step=4)
    assert "--prompts-per-step 3" in raised.value.hint


def test_a_part_never_splits_a_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "PART_COMPLETIONS", 10)
    parts = stage.training_parts([4, 7, 8, 11, 30], group_size=4)
    assert [list(part.rows) for part in parts] == [[4, 7], [8, 11], [30]]
    assert [part.name for part in parts] == ["part-00000", "part-00001", "part-00002"]
    assert [len(part.rows) for part in stage.training_parts([1, 2], group_size=999)] == [1, 1]


def test_a_part_depends_on_nothing_but_itself() -> None:
    parts = stage.training_parts([0, 3, 4, 9], group_size=200)
    together, alone = sample(10, parts), sample(10, parts[1:2])
    assert together[1].equals(alone[0])


def test_rows_come_in_key_order_with_what_was_drawn() -> None:
    table = sample(10, stage.training_parts([2, 5], group_size=3))[0]
    assert table.schema == ROLLOUTS.schema
    assert table.sort_by([(key, "ascending") for key in KEYS]).equals(table)
    row = table.to_pylist()[4]
    assert (row["group_id"], row["sample_index"], row["prompt_id"]) == ("000005:p-000005", 1, "p-000005")
    assert bytes(row["completion_ids"]).decode() == row["completion"]
    assert len(row["sampling_logprobs"]) == len(row["completion_ids"])
    assert len(set(table["seed"].to_pylist())) == 6


@given(
    count=st.integers(1, 50),
    requests=st.lists(st.integers(1, 300), min_size=1, max_size=4),
)
def test_topping_up_fills_in_what_is_missing_and_nothing_else(count: int, requests: list[int]) -> None:
    names: list[str] = []
    have: set[tuple[int, int]] = set()
    for num_samples in requests:
        parts = stage.evaluation_parts(count, stage.covered_samples(names), num_samples)
        for part in parts:
            new = {(row, index) for row in part.rows for index in range(part.first_sample, part.last_sample)}
            assert not new & have
            have |= new
        names += [part.name for part in parts]
    assert have == {(row, index) for row in range(count) for index in range(max(requests))}


def test_a_gap_left_by_a_kill_is_filled() -> None:
    parts = stage.evaluation_parts(20, {}, 130)
    names = [part.name for part in parts]
    assert names[:2] == ["part-00000-00064-00000", "part-00000-00064-00001"]
    left = [name for name in names if name != "part-00064-00128-00001"]
    # What stands after the gap is not trusted to continue it: it is made again.
    again = [part.name for part in stage.evaluation_parts(20, stage.covered_samples(left), 130)]
    assert again == ["part-00064-00128-00001", "part-00128-00130-00001"]


def test_the_draw_order_has_each_prompt_once() -> None:
    for step in range(7):  # 10 prompts, 3 a step: epochs of 3 steps
        order = draw_order(10, seed=5, step=step, prompts_per_step=3)
        assert sorted(order) == list(range(10))
    # On through the epoch: what step 0 would draw next are the prompts of step 1.
    first, second = (draw_order(10, seed=5, step=step, prompts_per_step=3) for step in (0, 1))
    assert first[3:] == second[:7]


def test_further_parts_are_small_and_limited() -> None:
    order = list(range(100, 0, -1))
    parts = further_parts(order, first=1, prompts_per_step=8, limit=2, group_size=4)
    # A quarter of a step is 2 prompts; one step's worth beyond the own.
    assert [part.name for part in parts] == ["part-00001", "part-00002", "part-00003", "part-00004"]
    assert [part.rows for part in parts] == [[91, 92], [89, 90], [87, 88], [85, 86]]
    assert further_parts(order[:9], first=1, prompts_per_step=8, limit=4, group_size=4)[0].rows == [92]
    assert not further_parts(order, first=1, prompts_per_step=8, limit=1, group_size=4)


@pytest.mark.parametrize(
    ("drawn", "varied", "expected"),
    [
        (8, 8, 0),
        (8, 4, 8),  # half of them: 4 missing take 8
        (8, 6, 3),  # 2 missing at 6 in 8: 2.67
        (8, 0, 8),  # nothing known of the share: a step's worth
        (32, 1, 8),  # 7 missing at 1 in 32 would take 224
        (16, 11, 0),
    ],
)
def test_as_many_prompts_are_drawn_as_should_be_enough(drawn: int, varied: int, expected: int) -> None:
    assert prompts_to_draw(drawn, varied, 8) == expected


def test_text_that_is_no_unicode_is_stored_with_replacement_characters() -> None:
    class Broken(DummyEngine):
        def decode(self, token_ids: Sequence[int]) -> str:
            return "\ud800 é \ud83d\ude00 \x00"

    part = stage.Part("part-00000", [0], 0, 1)
    made = stage.rollout(prompts(1), [part], Broken(), SAMPLING, seed_parts=(0,), group_prefix="", policy_version=0)
    assert next(made)[1]["completion"].to_pylist() == ["\ufffd é \U0001f600 \x00"]


class Thinking(DummyEngine):
    """Its chat template opens a thought after every question but an odd one."""

    def encode(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        odd = int(messages[-1]["content"]) % 2
        return super().encode([*messages, {"role": "assistant", "content": "<think></think>" if odd else "<think>"}])


def test_prompts_that_end_inside_a_thought_are_noted() -> None:
    made = stage.rollout(
        prompts(4),
        stage.training_parts([0, 1, 2, 3], group_size=2),
        Thinking(),
        SAMPLING,
        seed_parts=(0,),
        group_prefix="",
        policy_version=0,
    )
    [(_, table)] = made
    assert stage.prompts_in_thought(stage.notes(table)) == {"p-000000", "p-000002"}
    [plain] = sample(2, stage.training_parts([0, 1], group_size=2))
    assert stage.notes(plain) == {}
    assert stage.prompts_in_thought({"policy": "x"}) == frozenset()
