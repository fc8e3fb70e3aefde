"""What goes from a model into its checkpoints besides weights, and what does not."""

import shutil
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from rsgrpo_cli.modeling.companions import read_companions, write_companions
from rsgrpo_cli.models import model_directory

OTHER_WEIGHTS = [
    "pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "consolidated.00.pth", "model.gguf", "tf_model.h5",
    "flax_model.msgpack", "onnx/model.onnx", "model.pt", "rust_model.ot", "pytorch_model.bin.index.json",
    "model.safetensors", "model.safetensors.index.json", "model.mlpackage", "adapter_model.bin",
]  # fmt: skip
OURS = [
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json", "merges.txt", "spiece.model",
    "qwen.tiktoken", "chat_template.jinja", "additional_chat_templates/tool_use.jinja", "generation_config.json",
    "LICENSE", "license.txt", "Notice.txt", "COPYING", "USE_POLICY.md", "vocab.bpe",
]  # fmt: skip


@pytest.fixture
def model(tmp_path: Path) -> Path:
    for name in [*OTHER_WEIGHTS, *OURS, "config.json", "README.md", "modeling_own.py", "manifest.json", "dict.txt"]:
        path = tmp_path / "model" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path / "model"


def test_a_checkpoint_gets_the_tokenizer_and_no_other_weights(model: Path) -> None:
    assert sorted(read_companions(model)) == sorted(OURS)
    assert sorted(read_companions(model, ["dict.txt", "not-there.txt"])) == sorted([*OURS, "dict.txt"])


def test_all_that_belongs_to_a_model_is_fetched_from_the_hub(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def snapshot(repository: str, revision: str | None, allow_patterns: list[str]) -> str:
        names = [path.relative_to(model).as_posix() for path in model.rglob("*") if path.is_file()]
        for name in (name for name in names if any(fnmatchcase(name, pattern) for pattern in allow_patterns)):
            (tmp_path / "hub" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(model / name, tmp_path / "hub" / name)
        return str(tmp_path / "hub")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    directory = model_directory("somebody/model")
    assert sorted(read_companions(directory)) == sorted(OURS)
    others = {path.name for path in directory.rglob("*") if path.is_file()} & {*OTHER_WEIGHTS, "modeling_own.py"}
    assert others == {"model.safetensors", "model.safetensors.index.json", "pytorch_model.bin.index.json"}


def test_companions_outlive_the_directory_they_came_from(model: Path, tmp_path: Path) -> None:
    companions = read_companions(model)
    model.rename(tmp_path / "moved")
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "generation_config.json").write_text("another")
    write_companions(companions, tmp_path / "checkpoint")
    assert read_companions(tmp_path / "checkpoint") == companions
