"""How an update's completions are dealt out to ranks; what the ranks then compute is in tests/ranks."""

from typing import Any, cast

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from rsgrpo_cli.policy.sharding import Ranks, _decoder_layers, balanced
from tests.tiny_models import tiny_settings

LENGTHS = [30, 12, 7, 25, 18, 9, 21, 14]


def ranks(world: int) -> list[Ranks]:
    return [Ranks(rank, world, cast(Any, None), torch.device("cpu")) for rank in range(world)]


def test_each_row_goes_to_the_rank_with_the_fewest_tokens() -> None:
    # 30 -> first, 25 -> second, 21 -> second (46), 18 -> first (48), 14 -> second (60), 12 -> first (60), 9, 7
    first, second = balanced(LENGTHS, range(8), 2)
    assert (first, second) == ([0, 4, 1, 5], [3, 6, 7, 2])
    assert sum(LENGTHS[row] for row in first) - sum(LENGTHS[row] for row in second) == 2


@pytest.mark.parametrize("world", [1, 2, 3, 5, 11])
def test_every_rank_has_as_many_micro_batches_and_every_row_is_in_one(world: int) -> None:
    rows = [0, 1, 2, 4, 5, 6, 7]
    dealt = [one.deal(LENGTHS, rows, 40) for one in ranks(world)]
    assert len({len(batches) for batches in dealt}) == 1
    assert sorted(row for batches in dealt for batch in batches for row in batch) == rows
    assert all(len(batch) * max(LENGTHS[row] for row in batch) <= 40 for own in dealt for batch in own if batch)


def test_ranks_without_rows_have_empty_micro_batches() -> None:
    assert [one.deal(LENGTHS, [3], 40) for one in ranks(3)] == [[[3]], [[]], [[]]]


def test_tokens_are_balanced_within_the_longest_row() -> None:
    lengths = np.random.default_rng(0).integers(1, 400, size=500).tolist()
    loads = [sum(lengths[row] for row in rows) for rows in balanced(lengths, range(500), 8)]
    assert max(loads) - min(loads) <= max(lengths)


@pytest.mark.parametrize("kind", ["llama", "mamba", "zamba2"])
def test_no_weight_is_in_two_layers_that_are_sharded(kind: str) -> None:
    """Mamba names a module and one inside it; some of Zamba's layers share their weights."""
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **tiny_settings(kind)))
    layers = _decoder_layers(model)
    assert layers
    weights = [weight for layer in layers for weight in layer.parameters()]
    assert len({id(weight) for weight in weights}) == len(weights)
