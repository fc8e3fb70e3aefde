"""The worker's side: a session on the run that makes one part after another. It holds no lock: its driver does."""

from __future__ import annotations

import hashlib
import os
import socket
import time
import traceback
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from rsgrpo_cli.artifacts import package_versions, read_lineage, read_table, write_table
from rsgrpo_cli.console import Output
from rsgrpo_cli.errors import EngineError, MissingError, RsgrpoError, StaleError, first_line
from rsgrpo_cli.pipeline.gpu_memory import free_memory
from rsgrpo_cli.pipeline.grading import grade
from rsgrpo_cli.pipeline.role import Role
from rsgrpo_cli.pipeline.session import Session
from rsgrpo_cli.pipeline.spread.jobs import Answer, Done, Failed, GradePart, Hello, Job, Opening, Rest, SamplePart
from rsgrpo_cli.pipeline.stopping import StopSignal
from rsgrpo_cli.probe import Loaded, require_same
from rsgrpo_cli.rewards.rules import same_rules
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.schemas import PROMPTS, REWARDS, ROLLOUTS, ArtifactSchema
from rsgrpo_cli.wording import SHARE_THE_RUN, raised


def log_of(run: RunDir, number: int) -> Path:
    """Where a worker writes what it has to say."""
    return run.path / f"worker-{number}.log"


def write_to(log: Path) -> None:
    """Let all output of this process go to the end of a file; where that cannot be, it stays where it went."""
    with suppress(OSError):
        descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        os.close(descriptor)


def config_id(run: RunDir) -> str:
    """Hash of a run's settings, so that two machines can tell whether they see the same run.

    Raises:
        MissingError: If it is not there.
    """
    path = run.path / "config.json"
    if not path.is_file():
        raise MissingError(
            f"{socket.gethostname()} does not see the run {run.path}",
            SHARE_THE_RUN,
        )
    return hashlib.sha256(path.read_bytes()).hexdigest()


def require_same_versions(here: dict[str, str], driver: dict[str, str], host: str) -> None:
    """Compare the packages of a worker with the driver's.

    Raises:
        EngineError: Naming the first that differs.
    """
    for name in sorted({*here, *driver}):
        if here.get(name) != driver.get(name):
            found, wanted = (versions.get(name, "not installed") for versions in (here, driver))
            raise EngineError(
                f"the worker on {host} has {name} {found}, and this process {wanted}",
                "install the same versions on all machines; different versions can sample different completions",
            )


class PartWorker:
    """Does the jobs of one worker; opens the run with the first that needs it.

    Args:
        opening: What it needs for that.
        number: Its own, from 0.
    """

    def __init__(self, opening: Opening, number: int) -> None:
        self.opening, self.number = opening, number
        self.host = socket.gethostname()
        self.name = f"{self.host}, process {os.getpid()}"
        self._session: Session | None = None
        self._prompts: tuple[Path, str, pa.Table] | None = None
        self._checked: tuple[str, float] | None = None  # the weights that passed their probe

    def do(self, job: Job) -> Answer:
        """Do a job. What goes wrong is an answer: only what kills the process is none."""
        started = time.perf_counter()
        try:
            match job:
                case Hello():
                    self._hello()
                    return Done(self.name)
                case Rest():
                    self._rest()
                    return Done(self.name)
                case SamplePart():
                    made, rows, tokens = self._sample(job)
                case GradePart():
                    made, rows, tokens = *self._grade(job), 0
            return Done(self.name, made, rows, tokens, time.perf_counter() - started)
        except RsgrpoError as error:
            # An engine may fail once, of memory or of a GPU; what is wrong with files or settings stays wrong.
            final = isinstance(job, Hello) or not isinstance(error, EngineError)
            traceback.print_exc()
            return Failed(self.name, error, final)
        except Exception as error:
            traceback.print_exc()
            message = raised(type(error).__name__, first_line(error, silent="")[:300])
            return Failed(self.name, EngineError(message), False)

    def close(self) -> None:
        """Free what it holds."""
        if self._session is not None:
            self._session.__exit__()
            self._session = None

    def _hello(self) -> None:
        with suppress(OSError):  # where it is not there, and a relative name is used, the model will be missing
            os.chdir(self.opening.folder)
        require_same_versions(package_versions(), dict(self.opening.versions), self.host)
        if config_id(self.opening.run) != self.opening.config_id:
            raise MissingError(
                f"{self.host} sees another run at {self.opening.run.path}: its config.json is not the same",
                SHARE_THE_RUN,
            )

    def _rest(self) -> None:
        if self._session is not None:
            self._session.rest_sampler()
            self._session.drop_policy()
            free_memory()

    def _opened(self) -> Session:
        if self._session is None:
            given = self.opening
            stop = StopSignal()
            session = Session(given.run, given.config, Output(), stop, given.asked, trust=given.trust)
            session.accept_changes = given.accept_changes
            session.role = Role(self.number, given.beside_trainer)
            self._session = session
        return self._session

    # -- sampling -------------------------------------------------------------------------------------------------

    def _sample(self, job: SamplePart) -> tuple[str, int, int]:
        """The id of the part that was written, its rows and the tokens sampled for it."""
        import torch

        torch.set_num_threads(self.opening.threads)
        session, draw = self._opened(), job.draw
        session.at = job.at
        session.role = replace(session.role, handed={draw.version: job.weights} if job.weights else {})
        self._require_policy(session, job)
        prompts = self._read_prompts(draw.prompts, draw.lineage.inputs["prompts"])
        if draw.engine == "hf":
            self._open_policy(session, job)
        engine = session.engine(draw.engine, draw.version)
        ((_, table),) = draw.tables(prompts, [job.part], engine)
        lengths = pc.list_value_length(table["completion_ids"])
        return draw.write(job.path, table), len(table), int(pc.sum(lengths).as_py() or 0)

    def _require_policy(self, session: Session, job: SamplePart) -> None:
        wanted = job.draw.lineage.inputs["policy"]
        try:
            found = session.policy_id(job.draw.version)
        except MissingError as error:
            raise MissingError(
                f"{self.host} does not have the model: {error.message}",
                "all machines need it, in the same place or in their Hugging Face caches",
            ) from error
        if found != wanted:
            raise StaleError(
                f"{self.host} sees another policy {job.draw.version}: {found}, not {wanted}",
                "all machines have to see the same run and the same base model; try again once they do",
            )

    def _open_policy(self, session: Session, job: SamplePart) -> None:
        """Load the policy as the driver would have it.

        Weights that were handed over are compared with their probe; those of a checkpoint were, file by file. And torch
        multiplies with weights that want a gradient in another order of sums, gradient or not: `train` samples from
        such.
        """
        causal = (lm := session.policy(job.draw.version).lm).causal
        if session.config.model.lora_rank == 0:
            causal.requires_grad_(job.trains)
        if job.weights is not None and self._checked != (job.weights.policy, job.at):
            from rsgrpo_cli.policy.fingerprint import probe_logprobs

            loaded = Loaded(probe_logprobs(lm), job.weights.probe.logprobs)
            require_same(loaded, None, session.config.model.dtype)
            self._checked = (job.weights.policy, job.at)

    # -- grading --------------------------------------------------------------------------------------------------

    def _grade(self, job: GradePart) -> tuple[str, int]:
        """The id of the rewards that were written, and their rows."""
        wanted, source = job.part.lineage, job.part.source
        self._require_input(source, ROLLOUTS, wanted.inputs["rollouts"], "completions")
        prompts = self._read_prompts(job.rules.problems, wanted.inputs["prompts"])
        reward = job.rules.open(self._opened(), job.workers)
        if not same_rules(reward.identity, wanted.config["identity"]):
            raise StaleError(
                f"{self.host} has another reward: {reward.identity}, not {wanted.config['identity']}",
                "the file of a reward of your own has to be the same on all machines",
            )
        rewards = grade(source, prompts, reward, job.rules.shaping)
        return write_table(job.path, rewards, REWARDS, wanted), len(rewards)

    # -- both -----------------------------------------------------------------------------------------------------

    def _read_prompts(self, path: Path, wanted: str) -> pa.Table:
        if self._prompts is None or self._prompts[:2] != (path, wanted):
            self._require_input(path, PROMPTS, wanted, "problems")
            self._prompts = (path, wanted, read_table(path, PROMPTS))
        return self._prompts[2]

    def _require_input(self, path: Path, kind: ArtifactSchema, wanted: str, what: str) -> None:
        found = read_lineage(path, kind).id
        if found != wanted:
            raise StaleError(
                f"{self.host} sees different {what} in {path}: {found}, not {wanted}",
                SHARE_THE_RUN,
            )
