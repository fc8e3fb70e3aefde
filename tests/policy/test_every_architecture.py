"""Every architecture that transformers has a causal language model for: right, or refused before it is loaded.

The page of models is held to it. Minutes for all; the default tests try a few of each sort.
"""

from __future__ import annotations

import models_page
import pytest
from page_writer import filled
from transformers import AutoConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

from rsgrpo_cli.errors import EngineError
from rsgrpo_cli.modeling.architectures import require_supported
from tests.tiny_models import VARIANTS, every_kind

# Somebody else's modeling code; PEFT says what it leaves out.
pytestmark = pytest.mark.filterwarnings("ignore")

ALWAYS = ["qwen3", "gemma2", "mamba", "qwen3_next", "llama: 40 rows for 27 tokens, tied"]
TRIED = [*(kind for kind in every_kind() if models_page.refusal(kind) is None), *VARIANTS]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in ALWAYS else pytest.mark.slow) for name in TRIED]
)
def test_all_ways_to_compute_a_completion_agree(name: str) -> None:
    rows = filled(models_page.PAGE.read_text(encoding="utf-8"), "tried")
    assert models_page.row(name) in rows.splitlines()


def test_the_page_names_every_architecture_and_what_is_refused() -> None:
    page = models_page.PAGE.read_text(encoding="utf-8")
    names = [line.split("|")[1].strip() for line in filled(page, "tried").splitlines()[2:]]
    assert names == TRIED, "python scripts/models_page.py"
    assert filled(page, "refused") == models_page.refused_rows()
    assert f"**{len(TRIED) - len(VARIANTS)} of the {len(every_kind())}**" in page


@pytest.mark.parametrize(
    ("kind", "settings", "said"),
    [
        ("t5", {}, "t5 models cannot be used: they have an encoder"),
        ("bart", {}, "bart models cannot be used"),
        ("bert", {}, "bert models cannot be used: they are encoders"),
        ("qwen2_vl", {}, "qwen2_vl models cannot be used: they read images or sound"),
        ("vit", {}, "vit models cannot be used: transformers has no causal language model of this kind"),
        ("rwkv", {}, "rwkv models cannot be used"),
        ("llama", {"quantization_config": {"quant_method": "gptq", "bits": 4}}, "are quantised (gptq)"),
        ("qwen3", {"quantization_config": {"quant_method": "fp8"}}, "are quantised (fp8)"),
        ("llama", {"quantization_config": {}}, None),
        ("llama", {}, None),
        ("mamba", {}, None),
    ],
)
def test_what_cannot_be_right_is_refused_by_its_config(
    kind: str, settings: dict[str, object], said: str | None
) -> None:
    config = AutoConfig.for_model(kind, **settings)
    if said is None:
        return require_supported(config)
    with pytest.raises(EngineError) as refused:
        require_supported(config)
    assert said in refused.value.message
    assert "\n" not in str(refused.value.message)


@pytest.mark.slow
def test_every_architecture_that_is_no_language_model_is_refused_in_one_line() -> None:
    """All of transformers' configurations that can be made without settings, whatever they are for."""
    known = set(every_kind())
    for kind in sorted(set(CONFIG_MAPPING_NAMES) - known):
        try:
            config = AutoConfig.for_model(kind)
        except Exception:  # it needs settings: transformers says it is broken, in a line of its own
            continue
        with pytest.raises(EngineError) as refused:
            require_supported(config)
        assert refused.value.message.count("\n") == 0
