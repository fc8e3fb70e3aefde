import pyarrow as pa
import pytest
import torch

from rsgrpo_cli.config import UpdateConfig, resolve
from rsgrpo_cli.errors import DataError
from rsgrpo_cli.models import model_directory
from rsgrpo_cli.policy.checkpoints import open_policy
from rsgrpo_cli.policy.policy import Policy
from rsgrpo_cli.schemas import UPDATE_METRICS
from rsgrpo_cli.stages.update import update

CFG = UpdateConfig(learning_rate=1e-3)


def policy() -> Policy:
    return open_policy(resolve({}), model_directory("toy"), None, version=0, train=True)


def tables(groups: dict[str, list[float]]) -> tuple[pa.Table, pa.Table]:
    keys = [(name, index) for name, values in groups.items() for index in range(len(values))]
    columns = {"group_id": [name for name, _ in keys], "sample_index": [index for _, index in keys]}
    completions = [[9, 13 + index % 5, 20, 14, 26, 1] for index in range(len(keys))]
    rollouts = pa.table(
        columns
        | {
            "prompt_ids": [[4, 6, 12, 14, 7, 13, 25, 5]] * len(keys),
            "completion_ids": completions,
            "sampling_logprobs": pa.array([[-1.0] * 6] * len(keys), pa.list_(pa.float32())),
        }
    )
    advantages = pa.table(columns | {"advantage": [value for values in groups.values() for value in values]})
    return rollouts, advantages


def run(groups: dict[str, list[float]], cfg: UpdateConfig = CFG) -> tuple[Policy, dict[str, float]]:
    changed = policy()
    rollouts, advantages = tables(groups)
    table = update(rollouts, advantages, changed, cfg, temperature=1.0, max_tokens=20, correct_sampler=False)
    assert table.schema == UPDATE_METRICS.schema
    return changed, table.to_pylist()[0]


def test_groups_without_a_gradient_are_dropped_and_counted() -> None:
    _, metrics = run({"a": [1.0, -1.0], "b": [0.0, 0.0], "c": [0.5, -0.5], "d": [0.0, 0.0]})
    assert (metrics["groups"], metrics["groups_dropped"]) == (4, 2)
    assert (metrics["tokens"], metrics["tokens_forward"]) == (48, 24)
    assert metrics["learning_rate"] == 1e-3
    assert metrics["loss"] == pytest.approx(0, abs=1e-6)  # the advantages sum to zero and the lengths are equal


def test_a_zero_inside_a_group_stays() -> None:
    _, metrics = run({"a": [1.0, 0.0, -1.0]})
    assert metrics["tokens_forward"] == 18


def test_with_a_kl_penalty_every_group_has_a_gradient() -> None:
    changed = open_policy(resolve({"update.kl_coef": 0.1}), model_directory("toy"), None, version=0, train=True)
    rollouts, advantages = tables({"a": [1.0, -1.0], "b": [0.0, 0.0]})
    cfg = CFG.model_copy(update={"kl_coef": 0.1})
    metrics = update(rollouts, advantages, changed, cfg, temperature=1.0, max_tokens=20, correct_sampler=False)
    assert metrics["groups_dropped"].to_pylist() == [0]
    assert metrics["kl"].to_pylist()[0] is not None


def test_no_group_with_a_gradient_changes_nothing() -> None:
    changed, metrics = run({"a": [0.0, 0.0], "b": [0.0, 0.0]})
    for name, weight in policy().trained().items():
        assert torch.equal(weight, changed.trained()[name])
    assert (metrics["loss"], metrics["grad_norm"], metrics["entropy"]) == (0, 0, None)


def test_tables_of_different_steps_are_refused() -> None:
    rollouts, _ = tables({"a": [1.0, -1.0]})
    _, advantages = tables({"b": [1.0, -1.0]})
    with pytest.raises(DataError, match="different keys"):
        update(rollouts, advantages, policy(), CFG, temperature=1.0, max_tokens=20, correct_sampler=False)


def test_tokens_that_the_model_does_not_have_are_refused() -> None:
    rollouts, advantages = tables({"a": [1.0, -1.0]})
    foreign = rollouts.set_column(3, "completion_ids", pa.array([[9, 200], [9, 1]]))
    foreign = foreign.set_column(4, "sampling_logprobs", pa.array([[-1.0, -1.0]] * 2, pa.list_(pa.float32())))
    with pytest.raises(DataError, match="token 200"):
        update(foreign, advantages, policy(), CFG, temperature=1.0, max_tokens=20, correct_sampler=False)
