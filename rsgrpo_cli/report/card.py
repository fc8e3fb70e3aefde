"""The model card of an exported policy: what it is, how it was trained, what it measured, how to load it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rsgrpo_cli.report.comparison import unlike
from rsgrpo_cli.report.evaluations import Evaluation, columns, load
from rsgrpo_cli.report.tables import with_interval
from rsgrpo_cli.run.departures import departures
from rsgrpo_cli.run.run_dir import WHOLE, RunDir
from rsgrpo_cli.run.staleness import why_stale
from rsgrpo_cli.wording import counted, plural


def card(
    run: RunDir,
    version: int,
    *,
    complete: bool,
    licence: str | None,
    inexact: str | None = None,
    at: float = WHOLE,
    several: Sequence[int] = (),
) -> str:
    """A README.md with front matter that the Hugging Face Hub reads.

    Args:
        run: The run.
        version: The policy.
        complete: Whether it is a model of its own, not an adapter.
        licence: Of the base model, None where it is not known.
        at: Where on the line from the base model (0) to the policy (1) the weights are.
        inexact: How the policy, which was rebuilt, is not the same bit for bit, as a sentence, if it is not.
        several: The policies of whose weights these are the mean, of which `version` is the last.
    """
    config = run.config()
    base = config.model.name.partition("@")[0]
    parts = [
        *_front_matter(base, complete=complete, licence=licence),
        f"# {run.name}, {f'mean of {len(several)} policies' if several else _named(run, version, at)}",
        "",
        f"{base} after {counted(version, 'step')} of reinforcement learning with `{config.advantage.estimator}` on "
        f"{config.prepare.dataset}, made with rsgrpo: Risk-Sensitive GRPO, https://arxiv.org/abs/2509.24261.",
        *([] if licence else ["", "Its licence is that of the base model."]),
        *(["", f"It was rebuilt from an earlier checkpoint, not bit for bit: {inexact}."] if inexact else []),
        *_whose_weights(at, several),
        *_section("Training", [*_table(("setting", "value"), _settings(config)), *_others(run, version)]),
        *([] if several else _results(run, version, at)),
        *_section("Loading", ["```python", *_loading(base, complete=complete), "```"]),
    ]
    return "\n".join(parts) + "\n"


def _named(run: RunDir, version: int, at: float) -> str:
    """A policy, or weights on the line to it, as a person names it."""
    return f"policy {run.policy_name(version)}" + ("" if at == WHOLE else f" at {at:g}")


def _whose_weights(at: float, several: Sequence[int]) -> list[str]:
    """Where the weights come from, unless they are the policy's own."""
    if several:
        return ["", f"Its weights are the mean of those of policies {', '.join(map(str, several))}."]
    if at == WHOLE:
        return []
    return ["", f"Its weights are not the policy's own, but at {at:g} on the line to it from the base model, at 0."]


def _front_matter(base: str, *, complete: bool, licence: str | None) -> list[str]:
    from huggingface_hub import ModelCardData

    # The Hub refuses a base model that it does not have.
    of_base: dict[str, Any] = {}
    if _on_hub(base):
        of_base = {"base_model": base, "base_model_relation": "finetune" if complete else "adapter"}
    data = ModelCardData(
        license=licence,
        library_name="transformers" if complete else "peft",
        pipeline_tag="text-generation",
        tags=["rs-grpo", "reinforcement-learning", *(() if complete else ("lora",))],
        **of_base,
    )
    return ["---", data.to_yaml(), "---", ""]


def _on_hub(base: str) -> bool:
    return base.count("/") == 1 and not base.startswith((".", "/", "~")) and not Path(base).is_dir()


def _settings(config: Any) -> list[tuple[str, Any]]:
    rollout, update, model = config.rollout, config.update, config.model
    adapter = [("LoRA rank, alpha", f"{model.lora_rank}, {model.lora_alpha:g}")] if model.lora_rank else []
    estimator = config.advantage.model_dump(mode="json")
    return [
        ("estimator", estimator.pop("estimator")),
        *((name, value) for name, value in estimator.items() if value is not None),
        ("dataset", config.prepare.dataset),
        ("prompts per step", rollout.prompts_per_step),
        ("completions per prompt", rollout.group_size),
        ("tokens per completion", f"at most {rollout.max_tokens}"),
        ("temperature", f"{rollout.temperature:g}"),
        ("learning rate", f"{update.learning_rate:g}"),
        ("KL coefficient", f"{update.kl_coef:g}"),
        *adapter,
        *_further("rollout", rollout, ("zero_variance", "draw_limit")),
        *_further("score", config.score, ("reward", "overlong_buffer", "format_weight")),
        *_further("update", update, [name for name in type(update).model_fields if name not in _SHOWN]),
        ("computed in", model.dtype),
        ("seed", config.seed),
    ]


def _others(run: RunDir, version: int) -> list[str]:
    """The steps behind a policy that were made with other settings than the run's, or than this part of it."""
    steps: dict[str, list[int]] = {}
    for step in (step for step in run.steps() if step < version):
        for what, name, made, _ in departures(run, step):
            steps.setdefault(f"{what}: {name} {made}", []).append(step)
    told = [f"- {what}, in {plural(len(of), 'step')} {', '.join(map(str, of))}" for what, of in steps.items()]
    return ["", "With other settings:", "", *told] if told else []


_SHOWN = ("learning_rate", "kl_coef")
"""Settings of the update that have a line in any case."""


def _further(section: str, config: Any, names: Iterable[str]) -> list[tuple[str, Any]]:
    """Settings worth a line only where they are not the default, and decide something."""
    rows = [(name, getattr(config, name)) for name in names if name not in config.SPEED_ONLY]
    defaults = type(config).model_fields
    return [(f"{section}.{name}", value) for name, value in rows if value != defaults[name].default]


def _results(run: RunDir, version: int, at: float) -> list[str]:
    """pass@k of the policy, and of the base model where that was measured on the same benchmark."""
    whole = at == WHOLE
    lines = _left_out(run, version) if whole else []
    for name in _own(run, version) if whole else _on_the_line(run, version, at):
        found = load(run, version, name, at)
        before = _base(run, name, found)
        shown = columns([found, *(each for _, each in before)], [row["k"] for row in found.curve()])
        cells = [
            [label, *(with_interval(each.value(metric, k)) for _, metric, k in shown)]
            for label, each in [*before, (_named(run, version, at), found)]
        ]
        lines += ["", _how(found), "", *_table(("", *(heading for heading, _, _ in shown)), cells)]
    if any(line.startswith("|") for line in lines):
        lines += ["", "In brackets: 95% intervals over problems."]
    return _section("Results", lines[1:]) if lines else []


def _on_the_line(run: RunDir, version: int, at: float) -> list[str]:
    """The benchmarks on which these weights were evaluated."""
    found = [name for of, place, name in run.interpolated() if (of, place) == (version, at)]
    return [name for name in found if why_stale(run, version, name, at) is None]


def _left_out(run: RunDir, version: int) -> list[str]:
    """A line for each evaluation, of the policy or of the base model, that says nothing of these weights."""
    stale = [
        f"The evaluation of policy {of} on {name} is left out because it is stale: it {why}."
        for of in dict.fromkeys((version, 0))
        for name in run.benchmarks_of(of)
        if (why := why_stale(run, of, name)) is not None
    ]
    return [line for sentence in stale for line in ("", sentence)]


def _own(run: RunDir, version: int) -> list[str]:
    """The evaluations of these very weights."""
    return [name for name in run.benchmarks_of(version) if why_stale(run, version, name) is None]


def _base(run: RunDir, name: str, found: Evaluation) -> list[tuple[str, Evaluation]]:
    """The base model's evaluation, where it says the same of it."""
    if name not in _own(run, 0):
        return []
    base = load(run, 0, name)
    alike = base.benchmark_id == found.benchmark_id and not unlike([("", base), ("", found)])
    label = "base model" + (
        f" ({counted(base.num_samples, 'sample')})" if base.num_samples != found.num_samples else ""
    )
    return [(label, base)] if alike else []


def _how(evaluation: Evaluation) -> str:
    return (
        f"{evaluation.benchmark}: {counted(len(evaluation.problems), 'problem')}, "
        f"{counted(evaluation.num_samples, 'sample')} each at "
        f"temperature {evaluation.sampling['temperature']:g}, top_p {evaluation.sampling['top_p']:g}"
    )


def _loading(base: str, *, complete: bool) -> list[str]:
    lines = [
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        'tokenizer = AutoTokenizer.from_pretrained("PATH")',
    ]
    if complete:
        return [*lines, 'model = AutoModelForCausalLM.from_pretrained("PATH", dtype="auto")']
    over = f'AutoModelForCausalLM.from_pretrained("{base if _on_hub(base) else "BASE"}")'
    loaded = f'model = PeftModel.from_pretrained({over}, "PATH")'
    return ["from peft import PeftModel", *lines, loaded]


def _section(title: str, lines: Iterable[str]) -> list[str]:
    return ["", f"## {title}", "", *lines]


def _table(headers: Iterable[str], rows: Iterable[Iterable[Any]]) -> list[str]:
    head = list(headers)
    cells = [head, ["---"] * len(head), *([str(cell) for cell in row] for row in rows)]
    return [f"| {' | '.join(row)} |" for row in cells]
