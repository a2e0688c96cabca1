"""GRPO's settings: the published ones, and what is refused before anything starts."""

import subprocess
import sys

import pytest

from backend.errors import UserError
from backend.settings import ROOT
from backend.training_config import settings_for
from backend.training_config_grpo import PRESETS, GrpoSettings


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_consistent(preset: str) -> None:
    settings = settings_for("grpo", preset, {})
    assert isinstance(settings, GrpoSettings)
    assert settings.rollout % settings.update == 0
    assert settings.loss_type == "grpo"


def test_the_published_settings() -> None:
    published = settings_for("grpo", "published", {})
    assert isinstance(published, GrpoSettings)
    assert (published.prompts, published.generations) == (32, 4)
    assert published.update == 16 * published.generations, "a mini-batch of 16 requests"
    assert (published.prompt_tokens, published.max_new_tokens) == (256, 512)
    assert (published.learning_rate, published.beta, published.epochs) == (3e-7, 0.001, 5)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"prompts": 3, "generations": 5}, "prompts × generations = 15"),
        ({"generations": 1}, "generations"),
        ({"max_length": 64, "max_new_tokens": 64}, "no room for the request"),
        ({"length_low": 90, "length_high": 60}, "length_low"),
        ({"reward": "pairwise"}, "reward"),
        ({"monitor": {"fit": [0.2, 0.9]}}, "fit"),
        ({"kl": 0.1}, "kl"),
        (
            {"reward_weight": 0, "length_weight": 0, "repetition_weight": 0, "format_weight": 0},
            "at least one reward weight",
        ),
    ],
)
def test_what_cannot_work_is_refused_in_one_sentence(values: dict[str, object], words: str) -> None:
    with pytest.raises(UserError) as refused:
        settings_for("grpo", "starter_cpu", values)
    assert words in str(refused.value) and "\n" not in str(refused.value)


def test_the_settings_need_no_torch() -> None:
    code = (
        "import sys; from backend.training_config import settings_for; settings_for('grpo', None, {});"
        "import backend.training_config_serve, backend.diversity; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
