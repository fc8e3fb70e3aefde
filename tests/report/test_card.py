"""The front matter of a model card, as the Hugging Face Hub reads it."""

from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from rsgrpo_cli.config import resolve
from rsgrpo_cli.report.card import card
from rsgrpo_cli.run.run_dir import RunDir


@pytest.mark.parametrize(
    ("complete", "relation", "library"), [(True, "finetune", "transformers"), (False, "adapter", "peft")]
)
def test_a_base_model_on_the_hub_is_linked(tmp_path: Path, complete: bool, relation: str, library: str) -> None:
    run = RunDir.create(tmp_path / "x", resolve({"model.name": "me/model@v1"}))
    front = ModelCard(card(run, 3, complete=complete, licence="mit")).data.to_dict()
    assert (front["base_model"], front["base_model_relation"]) == ("me/model", relation)
    assert (front["license"], front["library_name"]) == ("mit", library)
    assert "# x, policy 3" in card(run, 3, complete=complete, licence="mit")
