"""By what rules rewards were given: the identity of a reward, as far as it decides the rewards of some problems.

That of `auto` names the rules of each task: "auto math: ...; countdown: ...". Rewards hold those of the tasks of their
problems, so that other rules for mathematics change nothing for a run on puzzles. Older rewards hold all.
"""

from __future__ import annotations

import re
from collections.abc import Collection

_AUTO, _NEXT = "auto ", re.compile(r"; (?=[a-z_]+: )")
_USER = "user"


def reward_of(identity: str) -> str:
    """What --reward takes to mean the reward with an identity, of any version of it; "" if there is no identity."""
    kind, _, rest = identity.partition(" ")
    return rest.partition(" ")[0] if kind == _USER else kind


def rules_for(identity: str, tasks: Collection[str]) -> str:
    """What of an identity decides the rewards of problems with these tasks.

    Args:
        identity: Of a reward.
        tasks: The column `task` of the problems.
    """
    if not identity.startswith(_AUTO):
        return identity
    return _AUTO + "; ".join(f"{task}: {rules}" for task, rules in _by_task(identity).items() if task in tasks)


def same_rules(one: str, other: str) -> bool:
    """Whether two identities decide alike, as far as both say anything of a task."""
    if not (one.startswith(_AUTO) and other.startswith(_AUTO)):
        return one == other
    return rules_for(one, _by_task(other)) == rules_for(other, _by_task(one))


def can_be_compared(one: str, other: str) -> bool:
    """Whether two identities say something of the same: those of `auto` may be of different tasks."""
    return not (one.startswith(_AUTO) and other.startswith(_AUTO)) or bool({*_by_task(one)} & {*_by_task(other)})


def _by_task(identity: str) -> dict[str, str]:
    """The rules of each task that the identity of `auto` names."""
    named = (part.partition(": ") for part in _NEXT.split(identity.removeprefix(_AUTO)))
    return {task: rules for task, _, rules in named if rules}
