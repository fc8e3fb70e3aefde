"""Memory of one rank, against sums by hand."""

from __future__ import annotations

from rsgrpo_cli.config import resolve
from rsgrpo_cli.planning.footprint import Decoder, Precision
from rsgrpo_cli.planning.ranks import rank_facts, rank_footprint
from tests.conftest import Cli

# 2 layers of 1,000 weights each, and 400 embeddings that are tied to the output layer.
DECODER = Decoder(2400, 2000, 0, 2, 4, 1, 1, 4, 8, 100, True)


def test_what_is_held_is_shared_and_the_gradient_is_not() -> None:
    config = resolve({"update.ranks": 4})
    items = rank_footprint(config, DECODER, Precision(), tokens=0, head_tokens=0).items
    assert items["weights"] == 2400 * 4 // 4
    assert items["optimizer state"] == 2400 * 8 // 4
    assert items["gradients"] == 2400 * 4  # until the last micro-batch
    assert items["gathered weights"] == 2 * 1000 * 4 + 400 * 4


def test_a_gradient_that_is_summed_each_time_is_shared_too() -> None:
    config = resolve({"update.ranks": 4, "update.gradient_sync": "each"})
    items = rank_footprint(config, DECODER, Precision(), tokens=0, head_tokens=0).items
    assert (items["gradients"], items["gradients in passing"]) == (2400 * 4 // 4, 1000 * 4)


def test_offloading_leaves_nothing_on_the_gpu_between() -> None:
    config = resolve({"update.ranks": 4, "update.cpu_offload": True})
    items = rank_footprint(config, DECODER, Precision(), tokens=0, head_tokens=0).items
    assert items["weights"] == items["optimizer state"] == 0


def test_the_network_carries_the_weights_twice_a_micro_batch_and_the_gradient_once() -> None:
    config = resolve({"update.ranks": 4})
    facts = rank_facts(config, DECODER, Precision(bfloat16=True), micro_batches=10)
    assert facts["micro_batches"] == 3
    # 3 x 2 x 2,400 x 2 bytes gathered and 2,400 x 4 summed, of which a quarter is the rank's own
    assert facts["network_bytes"] == (28_800 + 9_600) * 3 // 4


def test_plan_says_what_a_rank_needs_and_what_is_assumed(cli: Cli) -> None:
    made = cli("plan", "--model", "toy", "--gpus", "2", "--json")
    assert made.code == 0
    assert set(made.json["phases"]) == {"rollout", "update: a rank"}
    assert made.json["ranks"]["ranks"] == 2
    assert "not measured on a GPU" in cli("plan", "--model", "toy", "--gpus", "2").out


def test_two_numbers_of_gpus_are_refused(cli: Cli) -> None:
    made = cli("plan", "--model", "toy", "--gpus", "2", "--ranks", "4")
    assert (made.code, "--gpus 2 and --ranks 4 say two things" in made.err) == (2, True)
