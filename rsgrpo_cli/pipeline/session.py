"""A run at work: its resources, opened on demand and closed together."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from rsgrpo_cli import activity
from rsgrpo_cli.artifacts import read_lineage, read_table
from rsgrpo_cli.config import AdvantageConfig, OwnEstimatorConfig, RunConfig, ScoreConfig, override
from rsgrpo_cli.console import Output
from rsgrpo_cli.engines.registry import choose_engine, open_engine
from rsgrpo_cli.engines.vllm_process import require_vllm
from rsgrpo_cli.errors import MissingError
from rsgrpo_cli.estimators.user import UserEstimator
from rsgrpo_cli.pipeline.base_model import open_base
from rsgrpo_cli.pipeline.gpu_memory import free_memory
from rsgrpo_cli.pipeline.policy_files import PolicyFiles, weights_id
from rsgrpo_cli.pipeline.rebuilding import find_route, rebuild
from rsgrpo_cli.pipeline.role import PartMakers, Role
from rsgrpo_cli.pipeline.stopping import StopSignal
from rsgrpo_cli.pipeline.timings import add_time, read_timings
from rsgrpo_cli.pipeline.vllm_start import start_vllm
from rsgrpo_cli.rewards.registry import open_reward
from rsgrpo_cli.rewards.types import RewardFn, Wants
from rsgrpo_cli.rewards.user import UserReward
from rsgrpo_cli.run import policies
from rsgrpo_cli.run.base_place import find_base
from rsgrpo_cli.run.checkpoint_checks import checking
from rsgrpo_cli.run.identity import Function, refuse_unasked
from rsgrpo_cli.run.run_commands import command
from rsgrpo_cli.run.run_dir import WHOLE, RunDir
from rsgrpo_cli.schemas import PROMPTS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from rsgrpo_cli.engines.types import Engine, LoadableEngine
    from rsgrpo_cli.policy.policy import Policy
    from rsgrpo_cli.probe import Probe


class Session:
    """A run opened for work; use as a context manager.

    Args:
        run: The run directory; its lock is held by the caller.
        config: The run's configuration.
        out: Where messages and results go.
        stop: Asked between parts and stages.
        asked: The reward and the estimator that the user named for this command.
        trust: Whether to call those that only the run's configuration names, too. A run directory may come from
            anyone: even then, none is imported from inside it.
    """

    def __init__(
        self,
        run: RunDir,
        config: RunConfig,
        out: Output,
        stop: StopSignal,
        asked: Collection[str] = (),
        *,
        trust: bool,
    ) -> None:
        self.run, self.config, self.out, self.stop = run, config, out, stop
        self.asked, self.trust = asked, trust
        self.accept_changes = self.accept_inexact = False
        """Whether to continue where base, reward or estimator have changed; and with a policy rebuilt inexactly."""
        self.at = WHOLE
        """Where on the line from the base model's weights, at 0, to a policy's own the weights are that are used."""
        self.checked: set[str] = set()
        """What was compared with what the run was made with."""
        self.checked_history = -1
        """The last step whose history was found to be that of the steps before it: not to be compared again."""
        self.spread: PartMakers | None = None
        """The workers that make parts, if not this process does."""
        self.role = Role()
        """What this process is to the run: the one that holds it, unless told otherwise."""
        self._resources = ExitStack()
        self._policy: Policy | None = None
        self._policy_trains, self._policy_at = False, WHOLE
        self._inexact: set[int] = set()  # policies that were rebuilt, but not bit for bit
        self._engines: dict[str, Engine] = {}  # those that sample from the trainer's own weights, or from none
        self._sampler: LoadableEngine | None = None  # one with weights of its own
        self._warned: set[str] = set()
        self._rewards: dict[tuple[str, bool], RewardFn] = {}
        self._estimators: dict[str, UserEstimator] = {}
        self.launcher: Callable[[], Any] | None = None  # starts the ranks of an update, if not on this machine
        self.launched: Any = None  # they, which stay for the next one (`together`)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exception: object) -> None:
        self.let_ranks_go()
        self._resources.close()

    def let_ranks_go(self) -> None:
        """End the ranks that updates were made with."""
        if self.launched is not None:
            self.launched.close()
            self.launched = None

    def warn_once(self, text: str) -> None:
        """Say what should not be missed, once in this session."""
        if text not in self._warned:
            self._warned.add(text)
            self.out.warn(text)

    # -- inputs ---------------------------------------------------------------------------------------------------

    @cached_property
    def prompts(self) -> pa.Table:
        """The training problems."""
        if not self.run.prompts.is_file():
            raise MissingError(f"run {self.run.name} has no prompts", command(self.run, "prepare"))
        return read_table(self.run.prompts, PROMPTS)

    @cached_property
    def prompts_id(self) -> str:
        """Their id."""
        return read_lineage(self.run.prompts, PROMPTS).id

    @cached_property
    def timings(self) -> dict[int, dict[str, float]]:
        """Step -> stage -> seconds it took the last time, in this process or an earlier one."""
        return read_timings(self.run)

    # -- the model ------------------------------------------------------------------------------------------------

    @property
    def base(self) -> Path:
        """Directory of the base model.

        Raises:
            StaleError: If the model is not the one that the run was made with, and that is not accepted.
        """
        return self._base[0]

    @property
    def base_id(self) -> str:
        """Hash of the base model's weights; raises as `base`."""
        return self._base[1]

    @cached_property
    def _base(self) -> tuple[Path, str]:
        with activity.starting(f"checking the base model {self.config.model.name}"):
            return open_base(self.run, self.config.model.name, accept=self.accept_changes)

    def check_base(self) -> None:
        """Compare the base model with the run's now, and not when it is first used; raises as `base`."""
        _ = self._base

    @cached_property
    def description(self) -> Path:
        """Directory with the base model's configuration and tokenizer; of a model on the Hub these are all it has."""
        from rsgrpo_cli.models import tokenizer_directory

        return find_base(self.run, self.config.model.name, tokenizer_directory)

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The base model's tokenizer."""
        with activity.starting("loading the tokenizer"):
            from rsgrpo_cli.models import load_tokenizer, quiet

            with quiet():
                return load_tokenizer(self.description)

    @property
    def template_date(self) -> date | None:
        """The day that the model's chat template is told; None where it does not ask.

        The run keeps the first that it is asked for: a prompt is the same when the run is resumed another day.
        """
        if not self._asks_for_the_date:
            return None
        if self.config.model.template_date is None:
            if self.run.has_results():
                self.out.warn(
                    "the chat template asks for the date, and this run has not recorded one: today's is used now"
                )
            chosen = {"model.template_date": date.today().isoformat()}
            self.run.change_config(override(self.run.config(), chosen))
            self.config = override(self.config, chosen)
        return self.config.model.template_date

    @cached_property
    def _asks_for_the_date(self) -> bool:
        from rsgrpo_cli.modeling.prompt_tokens import asks_for_the_date

        return asks_for_the_date(self.description)

    def sampling_settings(self, name: str) -> dict[str, Any]:
        """What of the sampler and of the model's chat template decides the completions, for their lineage."""
        day = self.template_date
        return self.engine_settings(self.engine_name(name)) | ({"template_date": day.isoformat()} if day else {})

    def policy_id(self, version: int) -> str:
        """The id of a policy: of the base model, the hash of its weights; of another, of all it was made of."""
        policies.require_known(self.run, version)
        return self.run.policy_id(version, self.base_id)

    def policy(self, version: int, *, train: bool = False) -> Policy:
        """A policy, loaded unless it is the one at hand; rebuilt where it has no checkpoint (any more).

        Raises:
            MissingError, StaleError: If it has none and cannot be rebuilt.
        """
        at_hand = self._policy
        fits = at_hand is not None and at_hand.version == version and self._policy_at == self.at
        if at_hand is not None and fits and (self._policy_trains or not train):
            return at_hand
        self.drop_policy()
        self._policy = self._open(version, train=train)
        if self.at != WHOLE and version not in self.role.handed:
            from rsgrpo_cli.policy.interpolation import pull_back

            pull_back(self._policy, self.base, self.config.model, self.at)
        self._policy_trains, self._policy_at = train, self.at
        return self._policy

    def _open(self, version: int, *, train: bool) -> Policy:
        handed = self.role.handed.get(version)
        checkpoint = handed.directory if handed else self.run.checkpoint(version) if version else None
        if checkpoint is not None and handed is None and version not in self.run.versions():
            return self._rebuild(version, train=train)
        base = self.base
        check = checking(self.run, version, trainer=train) if checkpoint and handed is None else nullcontext()
        with activity.starting(f"loading policy {version}" if version else f"loading {self.config.model.name}"), check:
            from rsgrpo_cli.policy.checkpoints import open_policy

            return open_policy(self.config, base, checkpoint, version=version, train=train)

    def _rebuild(self, version: int, *, train: bool) -> Policy:
        route = find_route(self.run, version)
        made = rebuild(route, self.config, self.base, self.out, train=train, accept_inexact=self.accept_inexact)
        if made.inexact:
            self._inexact.add(version)
        return made.policy

    def inexactness(self, version: int) -> dict[str, str]:
        """What the lineage of samples says of a policy that was not rebuilt bit for bit, which is tried here."""
        if self.accept_inexact and version and version not in self.run.versions():
            self.policy(version)
        return {"rebuilt": "not bit for bit"} if version in self._inexact else {}

    def trained_policy(self) -> Policy | None:
        """The policy at hand, if it was opened for training."""
        return self._policy if self._policy_trains else None

    @contextmanager
    def borrowed_policy(self, version: int) -> Iterator[Policy]:
        """A policy that is dropped afterwards, unless it was at hand before."""
        known = self._policy
        policy = self.policy(version, train=self._policy_trains)
        try:
            yield policy
        finally:
            if policy is not known:
                self.drop_policy()

    def drop_policy(self) -> None:
        """Let the policy at hand go."""
        for engine in self._engines.values():
            engine.close()
        self._engines.clear()
        self._policy = None

    # -- samplers -------------------------------------------------------------------------------------------------

    def engine_name(self, name: str) -> str:
        """The engine that a setting means here."""
        return choose_engine(name, self.config.model.device)

    def engine_settings(self, name: str) -> dict[str, Any]:
        """What of an engine's own settings decides the completions, for their lineage."""
        if name != "vllm":
            return {"engine": name}
        return {"engine": name, "vllm_dtype": self.config.model.dtype}

    def require_engine(self, name: str) -> None:
        """Raise DependencyError where an engine lacks its package, UsageError where it does not know the type."""
        if self.engine_name(name) == "vllm":
            require_vllm(self.config.model.dtype)

    def engine(self, name: str, version: int) -> Engine:
        """A sampler loaded with a policy."""
        name = self.engine_name(name)
        if name == "vllm":
            return self._loaded_sampler(version)
        if name == "dummy":
            return self._engines.setdefault(name, open_engine(name))
        policy = self.policy(version, train=self._policy_trains)
        if name not in self._engines:
            self._engines[name] = open_engine(name, policy.lm, self.template_date)
        return self._engines[name]

    def rest_sampler(self) -> None:
        """Let the trainer have the memory of samplers with weights of their own."""
        if self.spread is not None:
            self.spread.rest()
        if self._sampler is not None:
            self._sampler.sleep()

    def files(self) -> PolicyFiles:
        """Where the weights of the run's policies are."""
        adapter = self.config.model.lora_rank > 0
        return PolicyFiles(self.run, self.base, self.base_id, adapter, self.borrowed_policy, self.role.handed)

    def _loaded_sampler(self, version: int) -> LoadableEngine:
        require_vllm(self.config.model.dtype)
        if self._sampler is not None and self._sampler.policy == weights_id(self.policy_id(version), self.at):
            return self._sampler
        with self.files().of(version, self.at) as weights:
            free_memory()
            if self._sampler is None:
                with activity.starting("starting vLLM"):
                    self._sampler = self._start_vllm(weights.probe)
                self._resources.callback(self._sampler.close)
            with activity.doing(f"giving policy {version} to vLLM"):
                self._sampler.load(weights)
        return self._sampler

    def _start_vllm(self, probe: Probe) -> LoadableEngine:
        beside_trainer = self._policy is not None or self.role.beside_trainer
        model, log = (self.base, self.base_id), self.run.path / self.role.vllm_log
        self.out.info(f"starting vLLM, which takes half a minute or more; its log: {log}")
        return start_vllm(self.config, model, probe, beside_trainer=beside_trainer, log=log, day=self.template_date)

    # -- rewards --------------------------------------------------------------------------------------------------

    def reward(self, name: str, *, workers: int, timeout: float, lenient: bool = False) -> RewardFn:
        """A verifier; its worker processes live as long as the session."""
        lenient = lenient and ":" not in name  # which only a verifier knows
        key = (name, lenient)
        if key not in self._rewards:
            reward = open_reward(
                name, workers=workers, deadline=timeout, lenient=lenient, keep_out=self._keep_out("reward", name)
            )
            self._resources.callback(reward.close)
            self._rewards[key] = reward
        return self._rewards[key]

    def require_reward(self, cfg: ScoreConfig) -> str:
        """Load a verifier now, so that one that cannot be loaded is known before anything is sampled; its identity.

        Raises:
            UsageError: If it cannot be loaded.
        """
        return self.reward(cfg.reward, workers=cfg.workers, timeout=cfg.timeout).identity

    def wants(self, cfg: ScoreConfig) -> Wants | None:
        """The columns that a user's function takes; None for a verifier. Loads the function.

        Raises:
            UsageError: If it cannot be loaded.
        """
        reward = self.reward(cfg.reward, workers=cfg.workers, timeout=cfg.timeout)
        return reward.wants if isinstance(reward, UserReward) else None

    def _keep_out(self, kind: Function, name: str) -> Path | None:
        """From where a function of this name is not imported; one that nobody asked for is not called at all."""
        if ":" in name and name not in self.asked and not self.trust:
            refuse_unasked(self.run.path, kind, name)
        return None if name in self.asked else self.run.path

    # -- estimators -----------------------------------------------------------------------------------------------

    def own_estimator(self, cfg: AdvantageConfig) -> UserEstimator | None:
        """A user's estimator, whose worker process lives as long as the session; None for one of ours."""
        if not isinstance(cfg, OwnEstimatorConfig):
            return None
        name = cfg.estimator
        if name not in self._estimators:
            self._estimators[name] = UserEstimator(name, keep_out=self._keep_out("estimator", name))
            self._resources.callback(self._estimators[name].close)
        return self._estimators[name]

    # -- time -----------------------------------------------------------------------------------------------------

    def note_time(self, event: Mapping[str, Any], seconds: float) -> None:
        """Log how long a stage took, and where."""
        self.run.record({**event, "seconds": round(seconds, 4)})
        if isinstance(event.get("step"), int) and "tag" not in event:
            add_time(self.timings, event, seconds)
