"""How much a run is to do: completions, tokens, optimizer steps, epochs. What users of other trainers compute by hand.

Everything is an upper bound where it depends on how long completions become, and exact otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil


@dataclass(frozen=True, slots=True)
class Workload:
    """The settings that decide how much there is to do.

    Args:
        steps: Of training.
        prompts_per_step: Prompts per step.
        group_size: Completions per prompt.
        prompt_tokens: Of a prompt, at most.
        max_tokens: Of a completion, at most.
        micro_batch_tokens: Padded tokens of one forward and backward pass.
        optimizer_steps: Of one training step, over all its epochs.
        minibatches: Optimizer steps of one epoch.
        draw_limit: The most prompts that a step may draw where groups are replaced, in units of `prompts_per_step`.
        problems: In the training set; None if not known yet.
        eval_every: Steps between evaluations; 0 for none.
        benchmarks: For each benchmark of an evaluation its problems, None if not known yet, and completions of each.
    """

    steps: int
    prompts_per_step: int
    group_size: int
    prompt_tokens: int
    max_tokens: int
    micro_batch_tokens: int
    optimizer_steps: int = 1
    minibatches: int = 1
    draw_limit: int = 1
    problems: int | None = None
    eval_every: int = 0
    benchmarks: tuple[tuple[int | None, int], ...] = ()

    @property
    def length(self) -> int:
        """Tokens of a prompt and its completion, at most."""
        return self.prompt_tokens + self.max_tokens

    @property
    def completions(self) -> int:
        """Completions that a step learns from."""
        return self.prompts_per_step * self.group_size

    @property
    def most_completions(self) -> int:
        """Completions that a step samples, at most."""
        return self.completions * self.draw_limit

    @property
    def completion_tokens(self) -> int:
        """Tokens sampled per step, at most."""
        return self.most_completions * self.max_tokens

    @property
    def rows(self) -> int:
        """Completions of full length that fit one micro-batch; one always does."""
        return min(self.completions, max(1, self.micro_batch_tokens // self.length))

    @property
    def micro_batches(self) -> int:
        """Forward and backward passes per step, at most: with every completion at full length."""
        largest_minibatch = ceil(self.prompts_per_step / self.minibatches) * self.group_size
        return self.optimizer_steps * ceil(largest_minibatch / self.rows)

    @property
    def largest_micro_batch(self) -> int:
        """Padded tokens of the largest micro-batch: its budget, or one completion where that is longer."""
        return min(max(self.micro_batch_tokens, self.length), self.completions * self.length)

    @property
    def all_optimizer_steps(self) -> int:
        """Optimizer steps of the run."""
        return self.steps * self.optimizer_steps

    @property
    def epochs(self) -> float | None:
        """How often the run visits a problem, on average; None if their number is not known."""
        return self.steps * self.prompts_per_step / self.problems if self.problems else None

    @property
    def evaluations(self) -> int:
        """Of the base model, then every so many steps, and at the end."""
        return 1 + ceil(self.steps / self.eval_every) if self.eval_every else 0

    @property
    def evaluation_completions(self) -> int | None:
        """Completions of one evaluation; None if the number of problems is not known."""
        known = [problems * samples for problems, samples in self.benchmarks if problems is not None]
        return sum(known) if known and len(known) == len(self.benchmarks) else None
