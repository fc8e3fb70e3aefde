from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rsgrpo_cli.config import UpdateConfig
from rsgrpo_cli.policy.experience import Experience, minibatches


def of_groups(groups: int, size: int = 3) -> Experience:
    """Groups of completions of one token, every other one without a gradient; a prompt is its row number."""
    count = groups * size
    ids = [np.array([row]) for row in range(count)]
    said = [np.zeros(1, np.float32)] * count
    group_N = np.repeat(np.arange(groups), size)
    counted_N = np.ones(count, dtype=bool)
    return Experience(ids, ids, said, np.where(group_N % 2, 0.0, 1.0), group_N, counted_N, 1.0, 1, False)


def rows(part: Experience) -> list[int]:
    """Which completions they are."""
    return [int(prompt[0]) for prompt in part.prompts]


def deal(made: Experience, minibatch_count: int, epochs: int, seed: int = 0, version: int = 0) -> list[Experience]:
    cfg = UpdateConfig(minibatches=minibatch_count, epochs=epochs)
    return list(minibatches(made, cfg, seed=seed, version=version))


@given(st.integers(1, 12), st.integers(1, 8), st.integers(1, 3), st.integers(0, 5))
def test_every_epoch_has_every_group_once_and_whole(groups: int, parts: int, epochs: int, seed: int) -> None:
    made = of_groups(groups)
    dealt = deal(made, parts, epochs, seed)
    assert len(dealt) == parts * epochs
    for epoch in range(epochs):
        own = dealt[epoch * parts : (epoch + 1) * parts]
        assert sorted(row for part in own for row in rows(part)) == list(range(3 * groups))
        for part in own:
            assert part.groups == len(set(part.group_N)) == len(part.prompts) / 3
            assert rows(part) == sorted(rows(part))
            assert part.gradient_N.tolist() == made.gradient_N[rows(part)].tolist()
        assert sum(part.groups_dropped for part in own) == groups // 2
        for counts in ([part.groups for part in own], [part.groups - part.groups_dropped for part in own]):
            assert max(counts) - min(counts) <= 1  # and as many with a gradient


def test_who_is_together_depends_on_seed_step_and_epoch_alone() -> None:
    made = of_groups(16)

    def dealt(**where: int) -> list[list[int]]:
        return [rows(part) for part in deal(made, 4, 2, **where)]

    assert dealt(seed=1, version=2) == dealt(seed=1, version=2)
    assert dealt(seed=1, version=2) != dealt(seed=2, version=2)
    assert dealt(seed=1, version=2) != dealt(seed=1, version=3)
    assert dealt()[:4] != dealt()[4:]


def test_one_minibatch_is_everything_in_order() -> None:
    assert [rows(part) for part in deal(of_groups(4), 1, 2)] == [list(range(12))] * 2


def test_which_completions_go_through_the_model() -> None:
    # Group 0: one masked, one empty, one that stays though its own advantage is 0. Group 1: nothing to tell apart.
    ids = [np.array([1]), np.zeros(0, np.int64), np.array([1, 2]), np.array([3])]
    advantages = np.array([1.0, -1.0, 0.0, 0.0])
    counted_N = np.array([False, True, True, True])
    made = Experience(ids, ids, ids, advantages, np.array([0, 0, 0, 1]), counted_N, 1.0, 2, False)
    assert made.gradient_N.tolist() == [False, False, True, False]
    assert (made.tokens, made.groups, made.groups_dropped) == (3, 2, 1)
    penalised = replace(made, has_penalty=True)
    assert penalised.gradient_N.tolist() == [False, False, True, True]
    assert penalised.groups_dropped == 0


def test_a_group_whose_only_advantages_are_masked_has_no_gradient() -> None:
    made = replace(of_groups(1), counted_N=np.zeros(3, dtype=bool))
    assert made.groups_dropped == 1
    assert not made.gradient_N.any()


def test_a_part_keeps_every_column_in_step() -> None:
    made = of_groups(2)
    made = replace(
        made,
        policy_logprobs=[np.full(1, row, np.float32) for row in range(6)],
        advantages=np.arange(6, dtype=np.float64),
    )
    part = made.take([5, 0])
    assert rows(part) == part.advantages.tolist() == [5, 0]
    assert part.policy_logprobs is not None
    assert [float(values[0]) for values in part.policy_logprobs] == [5, 0]
    assert part.group_N.tolist() == [1, 0]
