"""How many positions models of several architectures have, and which of them end hard."""

from typing import Any

import pytest
from transformers import AutoConfig

from rsgrpo_cli.errors import UsageError
from rsgrpo_cli.modeling.context_window import Window, require_room, window_of

LONG = {
    "rope_type": "longrope", "original_max_position_embeddings": 4096, "rope_theta": 1e4,
    "short_factor": [1.0] * 48, "long_factor": [2.0] * 48,
}  # fmt: skip
LLAMA_3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192, "rope_theta": 5e5,
}  # fmt: skip
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768, "rope_theta": 1e6}


@pytest.mark.parametrize(
    ("kind", "settings", "window"),
    [
        ("gpt2", {"n_positions": 24}, Window(24, hard=True)),
        ("opt", {"max_position_embeddings": 2048}, Window(2048, hard=True)),
        ("gptj", {"n_positions": 64}, Window(64, hard=True)),
        ("mpt", {"max_seq_len": 128}, Window(128, hard=True)),
        ("bloom", {}, Window(None, hard=False)),
        ("llama", {"max_position_embeddings": 128}, Window(128, hard=False)),
        ("qwen2", {"max_position_embeddings": 32768, "rope_parameters": YARN}, Window(131072, hard=False)),
        (
            "llama",
            {"max_position_embeddings": 100, "rope_scaling": {"type": "linear", "factor": 2.0}},
            Window(200, False),
        ),
        (
            "llama",
            {"max_position_embeddings": 100, "rope_scaling": {"rope_type": "dynamic", "factor": 2.0}},
            Window(100, hard=True),
        ),
        ("phi3", {"max_position_embeddings": 131072, "rope_parameters": LONG}, Window(4096, hard=True)),
        ("llama", {"max_position_embeddings": 131072, "rope_parameters": LLAMA_3}, Window(131072, hard=False)),
        ("mistral", {"max_position_embeddings": 128, "sliding_window": 16}, Window(128, hard=False)),
        ("deepseek_v32", {"index_topk": 64}, Window(64, hard=True)),
        ("jamba", {"max_position_embeddings": 64}, Window(64, hard=False)),
        ("mamba", {}, Window(None, hard=False)),
    ],
)
def test_positions(kind: str, settings: dict[str, Any], window: Window) -> None:
    assert window_of(AutoConfig.for_model(kind, **settings)) == window


def test_what_does_not_fit_is_refused_only_where_there_is_nothing() -> None:
    require_room(Window(24, hard=True), 12, 12)
    require_room(Window(24, hard=False), 12, 400)
    require_room(Window(None, hard=False), 12, 400)
    with pytest.raises(UsageError, match=r"a prompt of 12 tokens and 13 more do not fit the model's 24 positions"):
        require_room(Window(24, hard=True), 12, 13)
