import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rsgrpo_cli.config import UpdateConfig
from rsgrpo_cli.policy.minibatches import Completions, Minibatch, minibatches


def completions(groups: int, size: int = 3) -> Completions:
    group_N = np.repeat(np.arange(groups), size)
    return Completions(group_N, np.ones(len(group_N), dtype=bool), np.arange(groups) % 2 == 0)


def deal(made: Completions, minibatch_count: int, epochs: int, seed: int = 0, version: int = 0) -> list[Minibatch]:
    cfg = UpdateConfig(minibatches=minibatch_count, epochs=epochs)
    return list(minibatches(made, cfg, seed=seed, version=version))


@given(st.integers(1, 12), st.integers(1, 8), st.integers(1, 3), st.integers(0, 5))
def test_every_epoch_has_every_group_once_and_whole(groups: int, parts: int, epochs: int, seed: int) -> None:
    made = completions(groups)
    dealt = deal(made, parts, epochs, seed)
    assert len(dealt) == parts * epochs
    for epoch in range(epochs):
        own = dealt[epoch * parts : (epoch + 1) * parts]
        assert sorted(np.concatenate([part.counted for part in own])) == list(range(3 * groups))
        for part in own:
            assert part.groups == len(set(made.group_N[part.counted])) == len(part.counted) / 3
            assert part.counted.tolist() == sorted(part.counted)
        assert sum(part.dropped for part in own) == groups // 2
        for counts in ([part.groups for part in own], [part.groups - part.dropped for part in own]):
            assert max(counts) - min(counts) <= 1  # and as many with a gradient


def test_who_is_together_depends_on_seed_step_and_epoch_alone() -> None:
    made = completions(16)

    def dealt(**where: int) -> list[list[int]]:
        return [part.counted.tolist() for part in deal(made, 4, 2, **where)]

    assert dealt(seed=1, version=2) == dealt(seed=1, version=2)
    assert dealt(seed=1, version=2) != dealt(seed=2, version=2)
    assert dealt(seed=1, version=2) != dealt(seed=1, version=3)
    assert dealt()[:4] != dealt()[4:]


def test_one_minibatch_is_everything_in_order() -> None:
    assert [part.counted.tolist() for part in deal(completions(4), 1, 2)] == [list(range(12))] * 2


def test_what_is_masked_is_in_no_minibatch() -> None:
    group_N = np.array([0, 0, 1, 1])
    counted_N = np.array([True, False, True, True])
    made = Completions(group_N, counted_N, np.array([True, True]))
    assert sorted(np.concatenate([part.counted for part in deal(made, 2, 1)])) == [0, 2, 3]
    assert made.gradient_N.tolist() == [True, False, True, True]
