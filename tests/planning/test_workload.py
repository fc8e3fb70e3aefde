import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsgrpo_cli.planning.workload import Workload
from rsgrpo_cli.policy.batches import micro_batches

LOAD = Workload(
    steps=100,
    prompts_per_step=32,
    group_size=16,
    prompt_tokens=256,
    max_tokens=1024,
    micro_batch_tokens=16384,
    optimizer_steps=4,
    minibatches=2,
    draw_limit=3,
    problems=7500,
    eval_every=30,
    benchmarks=((500, 32), (30, 1024)),
)


def test_the_arithmetic_by_hand() -> None:
    assert LOAD.completions == 512  # 32 x 16
    assert LOAD.most_completions == 1536  # 512 x 3
    assert LOAD.completion_tokens == 1_572_864  # 1,536 x 1,024
    assert LOAD.length == 1280  # 256 + 1,024
    assert LOAD.rows == 12  # 16,384 // 1,280
    assert LOAD.micro_batches == 88  # 4 steps on half of 512, 256 / 12 = 21.33
    assert LOAD.largest_micro_batch == 16384
    assert LOAD.all_optimizer_steps == 400
    assert LOAD.epochs == pytest.approx(3200 / 7500)
    assert LOAD.evaluations == 5  # before the first step, after 30, 60, 90 and the last
    assert LOAD.evaluation_completions == 46_720  # 500 x 32 + 30 x 1,024


def test_what_is_not_known_is_not_guessed() -> None:
    load = Workload(1, 2, 2, 8, 8, 64)
    assert load.epochs is None
    assert load.evaluation_completions is None
    assert load.evaluations == 0


def test_a_completion_longer_than_the_budget_gets_a_pass_of_its_own() -> None:
    load = Workload(1, 2, 4, 100, 900, micro_batch_tokens=512)
    assert (load.rows, load.micro_batches, load.largest_micro_batch) == (1, 8, 1000)


@given(
    st.lists(st.integers(1, 30), min_size=8, max_size=8), st.integers(1, 30), st.integers(1, 100)
)  # lengths of completions, of the prompt, the budget
def test_no_batch_is_larger_and_there_are_no_more_of_them(completions: list[int], prompt: int, budget: int) -> None:
    load = Workload(1, 4, 2, prompt, 30, micro_batch_tokens=budget)
    lengths = [prompt + length for length in completions]
    made = list(micro_batches(lengths, range(8), budget))
    assert len(made) <= load.micro_batches
    assert max(len(batch) * max(lengths[row] for row in batch) for batch in made) <= load.largest_micro_batch
