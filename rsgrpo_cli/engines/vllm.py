"""The `vllm` engine: samples with vLLM, on a GPU or, for trying things out, on the CPU.

vLLM has a copy of the weights of its own, in a process of its own. `load` gives it those of another policy without a
restart, and then compares what it says of a fixed text with what the trainer said (rsgrpo_cli.probe).

What is reproducible: every completion has its own seed, and so its own random numbers whatever else is in the batch.
But vLLM decides while it works which completions it computes together, and sums rounded in another order can turn a
near tie between two tokens. So a second run draws the same completions except for a few, on the same machine, and other
ones on another. Nothing depends on it: a resumed run reads the rollouts that are there and draws what is missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import count
from pathlib import Path
from typing import Any

from rsgrpo_cli.config import ModelConfig, VllmConfig
from rsgrpo_cli.engines.types import Generation, Sampling, Weights, WeightSpan
from rsgrpo_cli.engines.vllm_process import explained, output_to, prepare_environment, quieten, require_vllm
from rsgrpo_cli.errors import DependencyError, EngineError, UsageError
from rsgrpo_cli.modeling.context_window import window_of
from rsgrpo_cli.modeling.prompt_tokens import decode_tokens, encode_chat
from rsgrpo_cli.modeling.special_tokens import spare_ids
from rsgrpo_cli.models import choose_device, directory_stop_ids, load_tokenizer, read_config
from rsgrpo_cli.probe import Loaded, Probe, require_same

PROMPT_ROOM = 4096
"""Tokens that a prompt may have beside the longest completion, unless vllm.max_model_len says otherwise."""
CPU_BATCH_TOKENS = 8192
CPU_BLOCK = 32
"""Tokens of a cache block on the CPU. A group shares the whole blocks of its prompt, which vLLM's 128 often exceed."""
NEVER = -100.0
"""The bias of a token that is not to be drawn, vLLM's lowest: times e^-100."""
LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Ranks that vLLM can make room for."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What vLLM is started with.

    Args:
        base: Directory of the base model.
        base_policy: Its id.
        probe: Any policy's probe of this run: it has the base model's numbers.
        model: Number type, device and LoRA rank.
        vllm: The engine's own settings.
        longest: Tokens of the longest completion that will be asked for.
        beside_trainer: Whether a trainer shares the GPU.
        log: Where vLLM's own output goes.
        day: The date for a chat template that asks for it.
    """

    base: Path
    base_policy: str
    probe: Probe
    model: ModelConfig
    vllm: VllmConfig
    longest: int
    beside_trainer: bool
    log: Path
    day: date | None = None


class VllmEngine:
    """Samples from the policy that it was given last; starts with the base model.

    Raises:
        DependencyError: If vLLM is not installed.
        EngineError: If it does not start, or disagrees with the trainer.
        UsageError: If the adapter's rank is more than it can take.
    """

    name = "vllm"

    def __init__(self, setup: Setup) -> None:
        require_vllm(setup.model.dtype)
        self._setup = setup
        self._tokenizer = load_tokenizer(setup.base)
        self._stop_ids = directory_stop_ids(self._tokenizer, setup.base)
        rows = read_config(setup.base).get_text_config().vocab_size
        self._never = dict.fromkeys(spare_ids(self._tokenizer, rows), NEVER)
        self._on_gpu = choose_device(setup.model.device) == "cuda"
        self._room = max_model_len(setup.vllm, setup.longest, setup.base)
        self._adapters = count(1)
        self._adapter: Any = None  # vLLM's LoRARequest
        self._asleep = False
        self._told: Loaded | None = None
        self.policy: str | None = setup.base_policy
        self._llm = self._start()
        self._check(setup.probe.token_ids, setup.probe.base_logprobs)
        self._name_weights(setup.base_policy)

    # -- sampling -------------------------------------------------------------------------------------------------

    def encode(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        return encode_chat(self._tokenizer, messages, self._setup.day)

    def decode(self, token_ids: Sequence[int]) -> str:
        return decode_tokens(self._tokenizer, self._stop_ids, token_ids)

    def generate(
        self, prompts: Sequence[Sequence[int]], seeds: Sequence[Sequence[int]], sampling: Sampling
    ) -> list[list[Generation]]:
        self._require_room(prompts, sampling.max_tokens)
        requests = [list(prompt) for prompt, own in zip(prompts, seeds, strict=True) for _ in own]
        params = [self._sampling_params(sampling, seed) for own in seeds for seed in own]
        made = iter(self._ask(requests, params))
        stop = set(self._stop_ids)
        return [[self._generation(next(made).outputs[0], stop) for _ in own] for own in seeds]

    def _sampling_params(self, sampling: Sampling, seed: int) -> Any:
        from vllm import SamplingParams

        return SamplingParams(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=sampling.max_tokens,
            seed=seed,
            stop_token_ids=list(self._stop_ids),
            logit_bias=self._never or None,
            logprobs=0,  # of the sampled token only
            flat_logprobs=True,
            detokenize=False,
        )

    def _ask(self, requests: list[list[int]], params: Any) -> list[Any]:
        prompts = [{"prompt_token_ids": ids} for ids in requests]
        try:
            answers: list[Any] = self._llm.generate(prompts, params, use_tqdm=False, lora_request=self._adapter)
        except Exception as error:  # its own have no base in common
            raise explained("vLLM stopped", error, self._setup.log) from error
        return answers

    def _generation(self, output: Any, stop_ids: set[int]) -> Generation:
        """A completion as vLLM gives it; newer versions say which weights they had for it.

        Raises:
            EngineError: If they were others than the policy's.
        """
        ids = list(output.token_ids)
        told = getattr(output, "weight_versions", None)
        spans = None if told is None else [WeightSpan(version=at.version, start=at.start, end=at.end) for at in told]
        other = next((span["version"] for span in spans or () if span["version"] != self.policy), None)
        if other is not None:
            raise EngineError(
                f"vLLM sampled with the weights {other}, not with {self.policy}", "run the same command again"
            )
        return Generation(ids, list(output.logprobs.logprobs), "stop" if ids[-1] in stop_ids else "length", spans)

    def _require_room(self, prompts: Sequence[Sequence[int]], max_tokens: int) -> None:
        longest = max(map(len, prompts), default=0)
        if longest + max_tokens > self._room:
            raise UsageError(
                f"a prompt of {longest} tokens and {max_tokens} more do not fit vLLM's limit of {self._room}",
                f"--set vllm.max_model_len={longest + max_tokens} if the model can, a smaller --max-tokens, or leave "
                "such prompts out",
            )

    # -- weights --------------------------------------------------------------------------------------------------

    def load(self, weights: Weights) -> None:
        if weights.policy == self.policy:
            return
        # Until the check is passed, nothing counts as loaded.
        self.policy = None
        try:
            self._replace(weights)
        except EngineError:
            raise
        except Exception as error:
            raise explained(f"vLLM cannot load {weights.directory}", error, self._setup.log) from error
        self._check(weights.probe.token_ids, weights.probe.logprobs)
        self._name_weights(weights.policy)
        self.policy = weights.policy

    def _replace(self, weights: Weights) -> None:
        if self._setup.model.lora_rank:
            self._wake(None)
            self._adapter = self._fresh_adapter(weights.directory) if weights.is_adapter else None
        else:
            # Asleep it has forgotten its weights; room for the cache comes last, so that the two do not add up.
            self._wake(["weights"])
            self._llm.collective_rpc("load_policy", args=(str(weights.directory.resolve()),))
            self._wake(["kv_cache"])
        self._asleep = False
        # What was computed with other weights must not be continued.
        if not self._llm.reset_prefix_cache():
            raise EngineError("vLLM keeps what it computed with other weights", "run the same command again")

    def _fresh_adapter(self, directory: Path) -> Any:
        """A name and a number that were never used: by these vLLM knows what it has loaded and computed."""
        from vllm.lora.request import LoRARequest

        number = next(self._adapters)
        return LoRARequest(f"policy-{number}", number, str(directory.resolve()))

    def _name_weights(self, policy: str) -> None:
        """Have vLLM name its weights in what it samples, from 0.32 on."""
        if (name := getattr(self._llm.llm_engine, "set_weight_version", None)) is not None:
            name(policy)

    def _check(self, token_ids: list[int], trainer: list[float]) -> None:
        now = Loaded(self._logprobs(token_ids), trainer)
        require_same(now, self._told, self._setup.model.dtype)
        self._told = now

    def _logprobs(self, token_ids: list[int]) -> list[float]:
        """What it says of each token but the first, at temperature 1."""
        from vllm import SamplingParams

        params = SamplingParams(max_tokens=1, temperature=1.0, prompt_logprobs=0, detokenize=False)
        told = self._ask([token_ids], [params])[0].prompt_logprobs
        return [float(at[token].logprob) for at, token in zip(told[1:], token_ids[1:], strict=True)]

    # -- the process ----------------------------------------------------------------------------------------------

    def sleep(self) -> None:
        if self._on_gpu and self._setup.beside_trainer and not self._asleep:
            # The base under an adapter is kept in main memory (1); all weights are replaced anyway (2).
            self._llm.sleep(level=1 if self._setup.model.lora_rank else 2)
            self._asleep, self.policy = True, None

    def _wake(self, tags: list[str] | None) -> None:
        if self._asleep:
            self._llm.wake_up(tags=tags)

    def close(self) -> None:
        self._llm.llm_engine.engine_core.shutdown()

    def _start(self) -> Any:
        prepare_environment()
        with output_to(self._setup.log):
            try:
                from vllm import LLM
            except ImportError as error:
                message = f"vllm is installed but cannot be imported: {error}"
                raise DependencyError(message, "pip install 'rsgrpo[vllm]'") from error
            try:
                engine = LLM(str(self._setup.base), **self._arguments())
            except Exception as error:
                raise explained("vLLM did not start", error, self._setup.log) from error
        quieten()
        return engine

    def _arguments(self) -> dict[str, Any]:
        setup, cfg = self._setup, self._setup.vllm
        arguments: dict[str, Any] = {
            "skip_tokenizer_init": True,  # token ids in, token ids out
            "generation_config": "vllm",  # not the model's own temperature and top_p
            "logprobs_mode": "processed_logprobs",  # at the temperature that was sampled with
            "dtype": setup.model.dtype,
            "max_model_len": self._room,
            "tensor_parallel_size": cfg.tensor_parallel_size,
            "enforce_eager": not self._on_gpu,  # graphs are compiled slowly, and then sample faster
            "worker_extension_cls": "rsgrpo_cli.engines.vllm_worker.PolicyLoader",
            "seed": 0,
        }
        if self._on_gpu:
            alone = 0.45 if setup.beside_trainer else 0.9
            arguments["gpu_memory_utilization"] = cfg.gpu_memory_utilization or alone
            arguments["enable_sleep_mode"] = setup.beside_trainer
        else:
            # A seeded prompt that is read in pieces kills vLLM on a CPU: its generator cannot be set back.
            arguments["enable_chunked_prefill"] = False
            arguments["max_num_batched_tokens"] = max(self._room, CPU_BATCH_TOKENS)
            arguments["block_size"] = CPU_BLOCK
        if setup.model.lora_rank:
            rank = lora_room(setup.model.lora_rank)
            arguments |= {"enable_lora": True, "max_loras": 1, "max_lora_rank": rank}
        return arguments


def max_model_len(cfg: VllmConfig, longest: int, base: Path) -> int:
    """How many tokens a prompt and its completion may have together.

    Args:
        cfg: The engine's own settings.
        longest: Tokens of the longest completion that will be asked for.
        base: Directory of the base model.
    """
    if cfg.max_model_len is not None:
        return cfg.max_model_len
    own = window_of(read_config(base)).tokens
    return min(PROMPT_ROOM + longest, own) if own else PROMPT_ROOM + longest


def lora_room(rank: int) -> int:
    """The smallest rank that vLLM can make room for and that an adapter fits.

    Raises:
        UsageError: If there is none.
    """
    fitting = [room for room in LORA_RANKS if room >= rank]
    if not fitting:
        raise UsageError(f"vLLM takes adapters up to rank {LORA_RANKS[-1]}, not {rank}", "use --engine hf")
    return fitting[0]
