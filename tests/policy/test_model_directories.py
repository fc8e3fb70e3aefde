"""Directories that are no whole model are refused by what they lack, with a next step."""

import json
import shutil
from pathlib import Path

import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from rsgrpo_cli.errors import MissingError
from rsgrpo_cli.models import load_tokenizer, model_directory

LEFT_OUT = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the bundled model."""
    return Path(shutil.copytree(model_directory("toy"), tmp_path / "model"))


def test_a_model_without_the_files_of_its_tokenizer(copy: Path) -> None:
    """Transformers makes a tokenizer without a vocabulary of nothing: every prompt would have 0 tokens."""
    for name in LEFT_OUT:
        (copy / name).unlink()
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"model_type": "qwen2"}))
    with pytest.raises(MissingError, match="has no tokenizer") as caught:
        load_tokenizer(copy)
    assert "save the model's tokenizer there" in str(caught.value.hint)


@pytest.mark.parametrize(("offline", "why"), [(True, "HF_HUB_OFFLINE is set"), (False, "the Hub cannot be reached")])
def test_a_model_that_is_not_in_the_cache(monkeypatch: pytest.MonkeyPatch, offline: bool, why: str) -> None:
    """What is offline is for huggingface_hub to say: HF_HUB_OFFLINE=YES is too, and so is TRANSFORMERS_OFFLINE."""
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)
    monkeypatch.setattr("huggingface_hub.snapshot_download", _not_there)
    with pytest.raises(MissingError, match=f"not in the local cache and {why}"):
        model_directory("nobody/nothing")


def _not_there(repository: str, **options: object) -> None:
    raise LocalEntryNotFoundError(repository)


def test_a_pointer_of_git_lfs(copy: Path) -> None:
    pointer = copy / "tokenizer.json"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 3\n")
    with pytest.raises(MissingError, match=r"tokenizer.json is a pointer of Git LFS") as caught:
        load_tokenizer(copy)
    assert caught.value.hint == f"git -C {copy} lfs pull"


def test_an_adapter_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(MissingError, match="is an adapter, not a model") as caught:
        model_directory(str(tmp_path))
    assert "merge_and_unload" in str(caught.value.hint)
