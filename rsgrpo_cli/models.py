"""The only loader of weights, tokenizer and chat template: bundled, local, or from the Hugging Face Hub."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rsgrpo_cli.bundled import bundled_model
from rsgrpo_cli.config import ModelConfig
from rsgrpo_cli.errors import DataError, DependencyError, EngineError, MissingError, first_line
from rsgrpo_cli.modeling import cuda, full_gpu
from rsgrpo_cli.modeling.architectures import require_supported
from rsgrpo_cli.modeling.companions import COMPANION_FILES, LEGAL_FILES, Companions, read_companions
from rsgrpo_cli.modeling.model_errors import GIVE, MERGE, cannot_load, explained
from rsgrpo_cli.modeling.prompt_tokens import encode_chat as encode_chat
from rsgrpo_cli.modeling.special_tokens import spare_ids, stop_ids

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

WEIGHT_PATTERNS = ("*.safetensors",)
OUT_OF_REACH = -1e9
"""The logit of what is never drawn. Finite, so that probability times logit is 0, and so at any temperature."""
_TOKENIZER_FILES = ("*.json", *COMPANION_FILES)
_HUB_FILES = (*WEIGHT_PATTERNS, *_TOKENIZER_FILES, *LEGAL_FILES, "README.md")


@dataclass(slots=True)
class LanguageModel:
    """A causal language model ready to sample from and to train.

    Args:
        causal: The transformers model with its output layer, an adapter injected if there is one.
        tokenizer: Its tokenizer.
        stop_ids: Tokens that end a completion.
        companions: The files that a checkpoint needs besides weights and config: tokenizer, templates, licence.
        dtype: What the computation runs in ("float32", "bfloat16" or "float64").
        adapter: The PEFT wrapper around `causal`, None when all weights are trained.
        compiled: `causal` up to its output layer, through torch.compile, where the update is to run so.
        shares_prompts: Whether the update may read a prompt once for several completions; None until it was tried.
        spare_ids: Rows of the output layer that no token belongs to, None where there are none.
        has_order: Whether a GPU can add its gradient up in one order; until the update finds that it cannot.
        together: What runs every use of a model that several processes share (policy/sharding.py).
        place: Where such a model computes; its weights may wait elsewhere.
    """

    causal: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    stop_ids: tuple[int, ...]
    companions: Companions
    dtype: str
    adapter: Any = None
    compiled: Any = None
    shares_prompts: bool | None = None
    spare_ids: torch.Tensor | None = None
    has_order: bool = True
    together: Any = None
    place: torch.device | None = None

    @property
    def device(self) -> torch.device:
        """Where it computes: where the weights are, unless several processes share them."""
        device: torch.device = self.place or self.causal.device
        return device

    def autocast(self) -> AbstractContextManager[Any]:
        """The context of every forward pass: bfloat16 over float32 weights, float64 throughout, or nothing."""
        import torch

        if self.dtype == "float64":
            from rsgrpo_cli.float64 import KeepFloat64

            return KeepFloat64()
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.dtype == "bfloat16")

    def only_tokens(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits, changed in place, with the rows that no token belongs to out of reach.

        Vocabularies are rounded up. What is drawn from the surplus has no text, so it is never drawn, and the update
        counts its probability as 0 too.
        """
        return logits if self.spare_ids is None else logits.index_fill_(-1, self.spare_ids, OUT_OF_REACH)

    def check_ids(self, ids: Sequence[int]) -> None:
        """Make sure that the model has embeddings for some tokens.

        Raises:
            DataError: If the tokenizer is one of a larger vocabulary.
        """
        rows = self.causal.get_input_embeddings().weight.shape[0]
        if (largest := max(ids, default=0)) >= rows:
            raise DataError(
                f"the tokenizer gives token {largest}, and the model has embeddings for {rows} tokens only",
                "the tokenizer belongs to another model: download the model again",
            )


def model_directory(name: str, *, hub_files: Sequence[str] = _HUB_FILES) -> Path:
    """The local directory of a model: bundled, local, or downloaded (from the cache when offline).

    Args:
        name: "toy" or another bundled one, a directory, or a Hugging Face id, with "@revision" if wanted.
        hub_files: What to download of a model on the Hub.

    Raises:
        MissingError: If there is no such model, or it is not in the cache and the Hub cannot be reached.
    """
    if bundled := bundled_model(name):
        return bundled
    path = Path(name)
    if name and path.is_dir():
        if not (path / "config.json").is_file():
            if (path / "adapter_config.json").is_file():
                raise MissingError(f"{path} is an adapter, not a model", MERGE)
            raise MissingError(f"{path} is not a model directory: it has no config.json", GIVE)
        return path
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise MissingError(f"no model at {name!r}", GIVE)
    return _from_hub(name, hub_files)


def config_directory(name: str) -> Path:
    """`model_directory` for who only wants to know the model's shape: of a model on the Hub no weights are fetched."""
    return model_directory(name, hub_files=["config.json"])


def tokenizer_directory(name: str) -> Path:
    """`model_directory` for who only wants to know what a prompt is to the model: no weights are fetched."""
    return model_directory(name, hub_files=_TOKENIZER_FILES)


def licence(name: str) -> str | None:
    """The licence that a model's card names ("apache-2.0"), None where it cannot be told.

    Args:
        name: The model, as for `model_directory`; of a model on the Hub only the card is fetched.
    """
    try:
        card = model_directory(name, hub_files=["README.md"]) / "README.md"
    except MissingError:  # gone, or out of reach; what is exported does not need it
        return None
    front = card.read_text(encoding="utf-8").split("---")[1:2] if card.is_file() else []
    found = re.search(r"^license:\s*([A-Za-z0-9.+-]+)\s*$", front[0], re.MULTILINE) if front else None
    return found[1] if found else None


def weights_id(directory: Path) -> str:
    """Hash of a model's weight files.

    Raises:
        MissingError: If it has none.
    """
    files = sorted(file for pattern in WEIGHT_PATTERNS for file in directory.glob(pattern))
    if not files:
        raise MissingError(
            f"{directory} has no .safetensors weights", "convert the model: save_pretrained() writes them"
        )
    digest = hashlib.sha256()
    for path in files:
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


@contextmanager
def quiet() -> Iterator[None]:
    """Without what transformers says of a model's files."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)


def read_config(directory: Path) -> Any:
    """A model's configuration as transformers knows it.

    Raises:
        MissingError: If there is none, or of an unknown kind.
    """
    from transformers import AutoConfig

    try:
        with quiet():
            return AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # of a broken file it says anything: KeyError, AttributeError, ...
        reason, hint = explained(error)
        raise MissingError(f"cannot read the configuration of {directory}: {reason}", hint) from error


def load_tokenizer(directory: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a model directory.

    Raises:
        MissingError: If it has none that can be loaded.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
        # Prompts that are too long are refused, by name. Transformers would warn of the first, as if it had been said.
        tokenizer.deprecation_warnings["sequence-length-is-longer-than-the-specified-maximum"] = True
    except Exception as error:  # of broken files it says anything: KeyError, AttributeError, ...
        raise cannot_load("a tokenizer", directory, error) from error
    if len(tokenizer) <= len(tokenizer.all_special_ids):  # made of nothing, by the name of the model's kind
        raise MissingError(
            f"{directory} has no tokenizer: there is no vocabulary in its files",
            "save the model's tokenizer there, with tokenizer.save_pretrained()",
        )
    return tokenizer


@full_gpu.explained("not enough GPU memory for the weights", "use --lora-rank, a smaller model or --device cpu")
def load_model(directory: Path, cfg: ModelConfig) -> LanguageModel:
    """Load weights and tokenizer.

    Args:
        directory: A Hugging Face model directory; for a LoRA run the base model's.
        cfg: Computation type and device. Weights are float32, or float64 if computed so; those of a base under an
            adapter bfloat16 if computed so.

    Raises:
        MissingError: If the directory does not hold a model.
        DataError: If weights are missing, or are not finite numbers.
        EngineError: If the model is not one that can be used, there is no such device, or not enough memory.
    """
    import torch
    import transformers

    device = choose_device(cfg.device)
    if device == "cuda":
        cuda.settle()
    require_supported(read_config(directory))
    _check_generation_config(directory)
    transformers.utils.logging.disable_progress_bar()
    trained = torch.float64 if cfg.dtype == "float64" else torch.float32
    weights = torch.bfloat16 if cfg.dtype == "bfloat16" and cfg.lora_rank else trained
    try:
        with quiet():  # what does not fit is said below
            causal, report = transformers.AutoModelForCausalLM.from_pretrained(
                directory,
                dtype=weights,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
            )
        causal = causal.to(device).eval()
        # GPT-2 asks for a mask wherever a token looks like padding. Prompts that are padded have one, and an update's
        # batch is padded on the right, which a causal model does not see.
        causal.base_model.warn_if_padding_and_no_attention_mask = _no_warning
    except Exception as error:  # it may raise anything on files that are not ours
        if full_gpu.is_full(error):
            raise
        raise cannot_load("a model", directory, error) from error
    _check_weights(directory, causal, report)
    tokenizer = load_tokenizer(directory)
    companions = read_companions(directory, tokenizer.vocab_files_names.values())
    spare = spare_ids(tokenizer, causal.get_output_embeddings().weight.shape[0])
    return LanguageModel(
        causal,
        tokenizer,
        stop_ids(tokenizer, causal.generation_config),
        companions,
        cfg.dtype,
        spare_ids=torch.tensor(spare, device=causal.device) if spare else None,
    )


def at_least_float32(tensor: torch.Tensor) -> torch.Tensor:
    """The same numbers in float32, or in float64 if they are: a computation in bfloat16 ends in float32."""
    return tensor if tensor.dtype.itemsize >= 4 else tensor.float()


def _no_warning(*_: Any) -> None:
    """Replaces a check of transformers'."""


def _check_weights(directory: Path, causal: PreTrainedModel, report: Mapping[str, Any]) -> None:
    """Refuse what transformers would fill in at random with no more than a warning, and what no update can mend."""
    import torch

    hint = "its files belong to another model, or some are missing: download it again"
    if mismatched := sorted(report["mismatched_keys"]):
        name, found, expected = mismatched[0]
        shapes = f"{list(found)}, and its config.json says {list(expected)}"
        raise DataError(f"the weights in {directory} do not fit its config.json: {name} has shape {shapes}", hint)
    if missing := sorted(report["missing_keys"]):
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise DataError(f"{directory} lacks weights of {type(causal).__name__}: {missing[0]}{more}", hint)
    with torch.no_grad():
        for name, weight in causal.named_parameters():
            if weight.dtype.itemsize > 1 and not bool(torch.isfinite(weight.sum(dtype=torch.float32))):
                raise DataError(f"the weights in {directory} are not finite numbers: {name} has NaN or infinity", hint)


def _check_generation_config(directory: Path) -> None:
    """Transformers passes over one that is broken in silence, and with it over the tokens that end a completion."""
    path = directory / "generation_config.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not valid JSON: {first_line(error)}", "correct it, or remove it") from error
    if not isinstance(data, dict):
        raise DataError(f"{path} is not an object of settings", "correct it, or remove it")


def choose_device(device: str) -> str:
    """The device that a name means: "auto" is the GPU where there is one.

    Raises:
        EngineError: If "cuda" is asked for and there is none.
    """
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise EngineError("no CUDA device here", "use --device auto or --device cpu")
    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device


def directory_stop_ids(tokenizer: PreTrainedTokenizerBase, directory: Path) -> tuple[int, ...]:
    """`stop_ids` of a model that is not loaded."""
    from transformers import AutoConfig, GenerationConfig

    _check_generation_config(directory)
    try:
        if (directory / "generation_config.json").is_file():
            generation_config = GenerationConfig.from_pretrained(directory)
        else:
            config = AutoConfig.from_pretrained(directory, trust_remote_code=False)
            generation_config = GenerationConfig.from_model_config(config)
    except Exception as error:  # it may raise anything on files that are not ours
        raise cannot_load("a configuration", directory, error) from error
    return stop_ids(tokenizer, generation_config)


def peft() -> Any:
    """The PEFT package.

    Raises:
        DependencyError: If it is not installed.
    """
    try:
        import peft as package
    except ImportError as error:
        raise DependencyError("LoRA needs the package peft", "pip install peft") from error
    return package


def describe(directory: Path) -> dict[str, Any]:
    """A model's config.json."""
    try:
        data: dict[str, Any] = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise MissingError(f"cannot read {directory / 'config.json'}: {first_line(error)}") from error
    return data


def _from_hub(name: str, files: Sequence[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.constants import HF_HUB_OFFLINE
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    repository, _, revision = name.partition("@")
    try:
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=list(files)))
    except LocalEntryNotFoundError as error:
        why = "HF_HUB_OFFLINE is set" if HF_HUB_OFFLINE else "the Hub cannot be reached"
        raise MissingError(
            f"model {name} is not in the local cache and {why}",
            "give a directory with --model, or run once online: hf download " + repository,
        ) from error
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise MissingError(
            f"cannot get model {name}: {first_line(error)}", "check the id, or give a directory"
        ) from error
