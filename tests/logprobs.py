"""What the policy as it is says of completions, without the entropies that come with it."""

from rsgrpo_cli.config import UpdateConfig
from rsgrpo_cli.policy.batches import Ragged
from rsgrpo_cli.policy.experience import Experience
from rsgrpo_cli.policy.optimize import logprobs_and_entropies
from rsgrpo_cli.policy.policy import Policy


def completion_logprobs(policy: Policy, experience: Experience, cfg: UpdateConfig) -> Ragged:
    """One float32 array per completion, empty for those without a gradient."""
    return [row[:, 0] for row in logprobs_and_entropies(policy, experience, cfg)]
