import numpy as np
import pyarrow as pa
import pytest
import torch

from rsgrpo_cli.config import UpdateConfig, resolve
from rsgrpo_cli.errors import DataError, EngineError
from rsgrpo_cli.models import model_directory
from rsgrpo_cli.policy.checkpoints import open_policy
from rsgrpo_cli.policy.policy import UNFINISHED, Policy
from rsgrpo_cli.schemas import POLICY_LOGPROBS, UPDATE_METRICS
from rsgrpo_cli.stages.update import read_policy_logprobs, update

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
    assert (metrics["loss"], metrics["grad_norm"]) == (0, 0)
    assert metrics["entropy"] is None


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


SEVERAL = {"a": [1.0, -1.0], "b": [0.0, 0.0], "c": [0.5, -0.5], "d": [0.3, -0.9]}
LENGTHS = [6, 3, 6, 6, 2, 6, 5, 6]
CUT = (1, 6)
"""Which of them were cut by length."""


def uneven() -> tuple[pa.Table, pa.Table]:
    """The groups above, with completions of unequal length."""
    plain, advantages = tables(SEVERAL)
    columns = {name: plain[name] for name in ("group_id", "sample_index", "prompt_ids")}
    ids = [row[:length] for row, length in zip(plain["completion_ids"].to_pylist(), LENGTHS, strict=True)]
    columns["completion_ids"] = pa.array(ids)
    columns["sampling_logprobs"] = pa.array([[-1.0] * length for length in LENGTHS], pa.list_(pa.float32()))
    columns["finish_reason"] = pa.array(["length" if row in CUT else "stop" for row in range(8)])
    return pa.table(columns), advantages


def run_uneven(seed: int = 0, model: dict[str, object] | None = None, **settings: object) -> tuple[Policy, pa.Table]:
    cfg = resolve({"update.learning_rate": 1e-3} | {f"update.{name}": value for name, value in settings.items()})
    config = resolve((model or {}) | {f"update.{name}": value for name, value in settings.items()})
    changed = open_policy(config, model_directory("toy"), None, version=0, train=True)
    table = update(*uneven(), changed, cfg.update, temperature=0.9, max_tokens=20, correct_sampler=False, seed=seed)
    assert table.schema == UPDATE_METRICS.schema
    assert changed.version == 1
    return changed, table


def gradients(changed: Policy) -> list[torch.Tensor]:
    """Filled with the gradient of each of the policy's optimizer steps from now on; the steps are not taken."""
    seen: list[torch.Tensor] = []
    assert changed.optimizer is not None
    weights = list(changed.trained().values())

    def look(*_: object) -> None:
        seen.append(torch.cat([weight.grad.flatten() for weight in weights if weight.grad is not None]))
        for weight in weights:
            weight.grad = None  # which AdamW takes for nothing to do

    changed.optimizer.register_step_pre_hook(look)
    return seen


def frozen(**settings: object) -> tuple[list[torch.Tensor], pa.Table]:
    """The gradients of an update's optimizer steps, all at the weights that it starts from."""
    cfg = UpdateConfig(learning_rate=1e-3, max_grad_norm=1e6, **settings)  # type: ignore[arg-type]
    config = resolve({f"update.{name}": value for name, value in settings.items()})
    changed = open_policy(config, model_directory("toy"), None, version=0, train=True)
    seen = gradients(changed)
    return seen, update(*uneven(), changed, cfg, temperature=0.9, max_tokens=20, correct_sampler=False)


@pytest.mark.parametrize("aggregation", ["token", "sequence", "constant"])
def test_minibatches_share_out_the_gradient(aggregation: str) -> None:
    # At frozen weights the gradient of all is the mean of the minibatches' gradients, weighed by what each divided by:
    # its tokens, or its completions.
    (whole,), _ = frozen(loss_aggregation=aggregation)
    parts, metrics = frozen(loss_aggregation=aggregation, minibatches=2)
    tokens = metrics["tokens"].to_pylist()
    assert sum(tokens) == sum(LENGTHS)
    assert metrics["groups"].to_pylist() == [2, 2]
    shares = [count / sum(tokens) for count in tokens] if aggregation == "token" else [0.5, 0.5]
    together = sum(share * part for share, part in zip(shares, parts, strict=True))
    torch.testing.assert_close(together, whole, rtol=0, atol=1e-6)
    assert float((parts[0] - whole).abs().max()) > 1e-2


def test_without_a_step_between_them_epochs_repeat_the_gradient() -> None:
    # Nothing moved, so the ratio to the old policy is 1 and both epochs see the same.
    (first, second), metrics = frozen(epochs=2)
    torch.testing.assert_close(first, second, rtol=0, atol=1e-7)
    assert metrics["clip_fraction_high"].to_pylist() == [0, 0]
    torch.testing.assert_close(first, frozen()[0][0], rtol=0, atol=1e-6)  # old ones worked out before, or by the step


def test_several_optimizer_steps_are_told_and_bounded() -> None:
    _, metrics = run_uneven(epochs=3, minibatches=2, learning_rate=5e-3, warmup_steps=4)
    assert metrics["optimizer_step"].to_pylist() == list(range(6))
    assert metrics["learning_rate"].to_pylist() == pytest.approx([0.00125, 0.0025, 0.00375, 0.005, 0.005, 0.005])
    clipped = metrics["clip_fraction_low"].to_numpy() + metrics["clip_fraction_high"].to_numpy()
    assert clipped[0] == 0  # the first step is taken from where the old log-probabilities are
    # Group b has no gradient: in each epoch it is dropped once.
    assert sum(metrics["groups_dropped"].to_pylist()) == 3
    assert sum(metrics["tokens"].to_pylist()) == 3 * sum(LENGTHS)


def test_a_later_step_is_clipped_against_the_policy_at_the_start() -> None:
    _, metrics = run_uneven(epochs=8)
    clipped = metrics["clip_fraction_low"].to_numpy() + metrics["clip_fraction_high"].to_numpy()
    assert clipped[0] == 0
    assert clipped[-1] > 0


def test_policy_logprobs_given_are_those_computed() -> None:
    cfg = UpdateConfig(learning_rate=1e-3, epochs=2, minibatches=2)
    own, given = policy(), policy()
    rollouts, advantages = uneven()
    table = read_policy_logprobs(rollouts, advantages, given, cfg, temperature=0.9)
    assert table.cast(POLICY_LOGPROBS.schema).schema.names == table.schema.names
    # Group b (rows 2 and 3) has no gradient and is left out.
    for name in ("policy_logprobs", "entropies"):
        assert [len(row) for row in table[name].to_pylist()] == [6, 3, 0, 0, 2, 6, 5, 6]
    for changed, logprobs in ((own, None), (given, table)):
        settings = {"temperature": 0.9, "max_tokens": 20, "correct_sampler": False}
        update(rollouts, advantages, changed, cfg, **settings, policy_logprobs=logprobs)  # type: ignore[arg-type]
    for name, weight in own.trained().items():
        assert torch.equal(weight, given.trained()[name])
    with pytest.raises(DataError, match="different keys"):
        update(*tables({"a": [1.0, -1.0]}), policy(), cfg, **settings, policy_logprobs=table)  # type: ignore[arg-type]


@pytest.mark.parametrize("settings", [{}, {"entropy_coef": 0.1}, {"micro_batch_tokens": 20}], ids=str)
def test_the_only_step_keeps_what_a_pass_of_its_own_would_read(settings: dict[str, float]) -> None:
    cfg = CFG.model_copy(update=settings)
    rollouts, advantages = uneven()
    read, (kept, bare) = policy(), (policy(), policy())
    expected = read_policy_logprobs(rollouts, advantages, read, cfg, temperature=0.9)
    found: list[pa.Table] = []
    for changed, keep in ((kept, found.append), (bare, None)):
        sampling = {"temperature": 0.9, "max_tokens": 20, "correct_sampler": False}
        update(rollouts, advantages, changed, cfg, **sampling, keep=keep)  # type: ignore[arg-type]
    (made,) = found
    assert made.equals(expected)
    assert sum(map(len, made["entropies"].to_pylist())) == (sum(LENGTHS) if settings.get("entropy_coef") else 28)
    for name, weight in kept.trained().items():
        assert torch.equal(weight, bare.trained()[name])


def test_the_groups_are_dealt_out_by_the_runs_seed() -> None:
    dealt = [run_uneven(seed=seed, minibatches=4)[1]["tokens"].to_pylist() for seed in (0, 0, 1)]
    assert dealt[0] == dealt[1] != dealt[2]


@pytest.mark.parametrize(
    "settings",
    [
        {"minibatches": 2, "epochs": 2},
        {"mask_truncated": True},
        {"mask_truncated": True, "loss_aggregation": "sequence", "minibatches": 2},
        {"kl_coef": 0.5, "kl_estimator": "k1"},
        {"kl_coef": 0.5, "kl_estimator": "k2", "epochs": 2},
        {"kl_coef": 0.5, "kl_estimator": "k3", "loss_aggregation": "constant"},
    ],
    ids=str,
)
def test_the_size_of_a_micro_batch_changes_nothing(settings: dict[str, object]) -> None:
    whole, told = frozen(**settings)
    for budget in (40, 1):
        parts, metrics = frozen(**settings, micro_batch_tokens=budget)
        for one, other in zip(parts, whole, strict=True):
            # Against numbers of up to 1.2: of the three completions in a step each weighs a lot.
            torch.testing.assert_close(one, other, rtol=0, atol=5e-6)
        assert metrics["loss"].to_pylist() == pytest.approx(told["loss"].to_pylist(), abs=1e-6)
    assert sum(metrics["micro_batches"].to_pylist()) > sum(told["micro_batches"].to_pylist())


@pytest.mark.parametrize("aggregation", ["token", "sequence", "constant"])
def test_masking_truncated_completions_is_not_having_them(aggregation: str) -> None:
    (masked,), metrics = frozen(mask_truncated=True, loss_aggregation=aggregation)
    rollouts, advantages = uneven()
    rest = [row for row in range(8) if row not in CUT]
    cfg = UpdateConfig(learning_rate=1e-3, max_grad_norm=1e6, loss_aggregation=aggregation)  # type: ignore[arg-type]
    changed = policy()
    seen = gradients(changed)
    update(
        rollouts.take(rest), advantages.take(rest), changed, cfg, temperature=0.9, max_tokens=20, correct_sampler=False
    )
    torch.testing.assert_close(masked, seen[0], rtol=0, atol=1e-6)
    assert metrics["tokens"].to_pylist() == [sum(LENGTHS) - 3 - 5]
    assert float((masked - frozen(loss_aggregation=aggregation)[0][0]).abs().max()) > 1e-3


def test_an_update_that_fails_half_way_leaves_no_policy_to_be_taken_for_one() -> None:
    changed = policy()
    rollouts, advantages = uneven()
    broken = advantages.set_column(2, "advantage", pa.array([1.0, -1.0, 0.0, 0.0, float("inf"), 0.1, 0.3, -0.9]))
    with pytest.raises(EngineError, match="diverged"):
        update(rollouts, broken, changed, CFG, temperature=0.9, max_tokens=20, correct_sampler=False)
    assert changed.version == UNFINISHED


UNUSABLE = [float("nan"), float("inf"), float("-inf"), None]


@pytest.mark.parametrize("correct_sampler", [True, False])
@pytest.mark.parametrize("unusable", UNUSABLE)
def test_a_token_without_a_usable_sampler_logprob_is_dropped_and_counted(
    unusable: float | None, correct_sampler: bool
) -> None:
    def take(said: list[float | None]) -> tuple[torch.Tensor, dict[str, float]]:
        rollouts, advantages = tables({"a": [1.0, -1.0]})
        column = pa.array([said, [-1.0] * 6], pa.list_(pa.float32()))
        rollouts = rollouts.set_column(4, "sampling_logprobs", column)
        changed = policy()
        seen = gradients(changed)
        settings = {"temperature": 1.0, "max_tokens": 20, "correct_sampler": correct_sampler}
        metrics = update(rollouts, advantages, changed, CFG, **settings)  # type: ignore[arg-type]
        return seen[0], metrics.to_pylist()[0]

    whole, of_whole = take([-1.0] * 6)
    gradient, metrics = take([-1.0, unusable, *[-1.0] * 4])
    assert (of_whole["sampler_logprobs_dropped"], metrics["sampler_logprobs_dropped"]) == (0, 1)
    assert all(np.isfinite(value) for value in metrics.values() if value is not None)
    assert bool(gradient.isfinite().all())
    assert float((gradient - whole).norm()) > 1e-3
    if not correct_sampler:  # all ratios are 1: the loss is -(6 - 6) / 12, and -(5 - 6) / 12 without a token
        assert of_whole["loss"] == pytest.approx(0, abs=1e-6)
        assert metrics["loss"] == pytest.approx(1 / 12, abs=1e-6)


def test_a_completion_with_more_tokens_than_logprobs_is_refused() -> None:
    rollouts, advantages = tables({"a": [1.0, -1.0]})
    short = rollouts.set_column(4, "sampling_logprobs", pa.array([[-1.0] * 5, [-1.0] * 6], pa.list_(pa.float32())))
    with pytest.raises(DataError, match="more or fewer sampling_logprobs than tokens"):
        update(short, advantages, policy(), CFG, temperature=1.0, max_tokens=20, correct_sampler=False)
