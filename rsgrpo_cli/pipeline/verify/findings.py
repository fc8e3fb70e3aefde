"""What `verify` finds in a run, and the checks that every table of it goes through.

Findings are listed so that doing what each says, one after the other, ends in a sound run.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from rsgrpo_cli.artifacts import read_lineage, read_table
from rsgrpo_cli.errors import ArtifactError, MissingError, RsgrpoError
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.schemas import AUDIT, KEYS, PROMPTS, ArtifactSchema
from rsgrpo_cli.wording import counted

FIRST, LAST = -1, sys.maxsize


@dataclass(frozen=True, slots=True)
class Again:
    """What to do about a file that a command makes again.

    Args:
        command: The command.
        away: Whether a damaged one is there, which has to be moved away first.
        tagged: Whether it has a tag, and so may have had settings of its own.
    """

    command: str
    away: bool = True
    tagged: bool = False

    def told(self, *, below: bool) -> str:
        """In words; `below` is whether another finding, further down, names the command."""
        if below:
            return "move it away, too" if self.away else "the same makes it again"
        start = "move it away, then" if self.away else "make it again"
        return f"{start}{', with the settings that it had' if self.tagged else ''}: {self.command}"


Hint = str | Again


@dataclass(frozen=True, slots=True)
class Finding:
    """Something in a run that is not as it should be.

    Args:
        what: What, naming the file.
        hint: What to do about it.
        step: Of what it is: a step, or the one that made the policy; FIRST is what comes before all steps, LAST what is
            summed up from them.
    """

    what: str
    hint: Hint
    step: int = FIRST


@dataclass
class Findings:
    """What was found in a run, and the checks of a single file.

    Args:
        run: The run.
        findings: What was found so far.
        tables: How many tables were read through.
        checkpoints: How many checkpoints were.
        at: The step that is being checked, as of `Finding`.
        stale: What was made from something that was replaced since, by its step: in words, and the ways out.
        unsure: Policies whose checkpoint, or the record of whose update, is not as it should be.
        misplaced: Steps whose files are in the folder of another, or in whose folder those of another are.
    """

    run: RunDir
    findings: list[Finding] = field(default_factory=list)
    tables: int = 0
    checkpoints: int = 0
    at: int = FIRST
    stale: dict[int, tuple[str, str]] = field(default_factory=dict)
    unsure: set[int] = field(default_factory=set)
    misplaced: frozenset[int] = frozenset()

    def add(self, what: str, hint: Hint) -> None:
        """Note a finding, once: what is damaged shows again where something was made from it."""
        if what not in {finding.what for finding in self.findings}:
            self.findings.append(Finding(what, hint, self.at))

    def audit(self, path: Path, rewards: str | None) -> None:
        """Check a list of a second grader: it is of the rewards with this id; None where these are damaged."""
        again = Again(self.verify)
        if self.table(path, AUDIT, again) is not None and rewards is not None:
            with self.noting(again):
                if read_lineage(path, AUDIT).inputs.get("rewards") != rewards:
                    self.add(f"{path} is from different rewards than those beside it", again)

    def names(self, path: Path) -> bool:
        """Whether there is a finding about a file already: what else is wrong with it goes with the same way out."""
        return any(finding.what.startswith(f"{path} ") for finding in self.findings)

    def add_stale(self, sentence: str, ways_out: str, step: int) -> None:
        """Note that something in a step was made from what has been replaced since. The first such step decides."""
        self.stale.setdefault(step, (sentence, ways_out))

    def in_order(self) -> list[Finding]:
        """All findings, each with what to do once the ones before it are done.

        A run that is stale from some step on is branched off before that step. What is damaged there cannot be made
        again, nor need it be: the branch leaves it behind.
        """
        if not self.stale:
            return _commands_last(self.findings)
        first, *later = sorted(self.stale)
        sentence, ways_out = self.stale[first]
        also = f", and so on in {counted(len(later), 'later step')}" if later else ""
        kept = [finding for finding in self.findings if finding.step < first]
        left = [finding for finding in self.findings if finding.step >= first]
        return [
            *_commands_last(kept),
            Finding(f"{sentence}{also}", ways_out, first),
            *(replace(finding, hint="the branch leaves it behind") for finding in left),
        ]

    @contextmanager
    def noting(self, hint: Hint = "") -> Iterator[None]:
        """Around a check: what it raises is a finding, with its own hint unless one is given."""
        try:
            yield
        except RsgrpoError as error:
            hint = made_again(hint) if isinstance(error, MissingError) else hint
            # The hint of a damaged file ends in this very command.
            self.add(error.message, hint or error.hint.removesuffix(f", which this names: {self.verify}"))

    def command(self, *words: str) -> str:
        """A command on the run."""
        return shlex.join(["rsgrpo", words[0], "--run", str(self.run.path), *words[1:]])

    @property
    def verify(self) -> str:
        """The command after which nothing is left to do: nothing is made from what was moved away or removed."""
        return shlex.join(["rsgrpo", "verify", str(self.run.path)])

    def table(self, path: Path, kind: ArtifactSchema, hint: Hint) -> pa.Table | None:
        """Read a table through: its pages, its content against its id, its keys."""
        self.tables += 1
        with self.noting(hint):
            table = read_table(path, kind)
            _check_keys(path, table.select(list(kind.keys)), kind)
            return table
        return None

    def same_keys(self, table: pa.Table | None, made_from: pa.Table | None, path: Path, what: str, hint: Hint) -> None:
        """Compare the completions of a table with those of what it was made from, as far as both can be read."""
        if table is None or made_from is None or self.names(path):
            return
        if not table.select(list(KEYS)).equals(made_from.select(list(KEYS))):
            self.add(f"{path} is not of the same completions as {what}", hint)

    def join_problems(self, path: Path, rollouts: pa.Table, number: int, hint: Hint) -> bool:
        """Whether every completion is of a problem of the run, and is named after it and the step."""
        ids, wrong = rollouts["prompt_id"], ""
        groups = pc.binary_join_element_wise(f"{number:06d}", ids, ":")
        if not pc.all(pc.equal(groups, rollouts["group_id"])).as_py():
            wrong = f"{path} has groups of another step or of other problems"
        elif self.run.prompts.is_file():
            with suppress(RsgrpoError):  # of the problems, which is a finding of its own
                known = read_table(self.run.prompts, PROMPTS, ["prompt_id"])["prompt_id"]
                if not pc.all(pc.is_in(ids, known.combine_chunks())).as_py():
                    wrong = f"{path} has completions of problems that the run does not have"
        if wrong and not self.names(path):
            self.add(wrong, hint)
        return not wrong


def _commands_last(findings: Sequence[Finding]) -> list[Finding]:
    """The same in words; of several that need one command the last has it: it fails before all damage is away."""
    ordered: list[Finding] = []
    named: set[str] = set()
    for finding in reversed(findings):
        hint = finding.hint
        if isinstance(hint, Again):
            finding = replace(finding, hint=hint.told(below=hint.command in named))
            named.add(hint.command)
        ordered.append(finding)
    return ordered[::-1]


def made_again(hint: Hint) -> Hint:
    """The same where nothing is left to move away."""
    return replace(hint, away=False) if isinstance(hint, Again) else hint


def _check_keys(path: Path, keys: pa.Table, kind: ArtifactSchema) -> None:
    """Refuse rows that share their keys, and completions that are out of order."""
    names: Sequence[str] = kind.keys
    if len(keys.group_by(list(names)).aggregate([])) != len(keys):
        raise ArtifactError(f"{path} has two rows with the same {' and '.join(names)}")
    ordered = keys.sort_by([(name, "ascending") for name in names])
    if kind.keys == KEYS and not ordered.combine_chunks().equals(keys.combine_chunks()):
        raise ArtifactError(f"{path} has rows that are out of order")
