"""GRPO's settings: the published ones, what TRL makes of them, and what is refused before anything starts."""

import json
import subprocess
import sys
from typing import Any

import pytest

from backend.core.errors import UserError
from backend.core.settings import PROJECT_ROOT
from backend.training.grpo_settings import GrpoSettings
from backend.training.presets import PRESETS
from backend.training.settings import settings_for
from tests.training_helpers import probe

OFF, ON = False, True
VLLM = (
    "use_vllm",
    "vllm_mode",
    "vllm_gpu_memory_utilization",
    "vllm_max_model_length",
    "vllm_server_base_url",
)
COLOCATED = [True, "colocate", 0.4, 768, None]


@pytest.mark.parametrize("preset", PRESETS["grpo"])
def test_every_preset_is_consistent(preset: str) -> None:
    settings = settings_for("grpo", preset, {})
    assert isinstance(settings, GrpoSettings)
    assert settings.rollout_size % settings.update_size == 0
    assert settings.loss_type == ("bnpo" if preset == "published" else "grpo")


def test_the_published_settings() -> None:
    published = settings_for("grpo", "published", {})
    assert isinstance(published, GrpoSettings)
    assert (published.prompts, published.generations) == (32, 4)
    assert published.update_size == 16 * published.generations, "a mini-batch of 16 requests"
    assert (published.prompt_tokens, published.max_new_tokens) == (256, 512)
    assert (published.learning_rate, published.beta, published.epochs) == (3e-7, 0.001, 5)
    assert published.prompt_template.endswith("：{request}") and published.entropy_coef == 0


def told(*cases: tuple[str, dict[str, Any], bool, str | None, str]) -> list[dict[str, Any]]:
    """TRL's configuration for (preset, settings, GPU?, version of vLLM, size), or the sentence that refuses."""
    done = probe("rollouts", said="\n".join(map(json.dumps, cases)))
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_what_trl_is_told() -> None:
    memory, server = {"vllm_memory": 0.4}, {"vllm": "server", "vllm_server": "http://rollouts:8001"}
    new, small, seven = "0.31.0+cu129", "1.5B", "7B"
    cases: list[tuple[tuple[str, dict[str, Any], bool, str | None, str], list[Any] | str]] = [
        (("published", memory, ON, new, small), COLOCATED),
        (("published", memory | {"vllm": "colocate"}, ON, new, small), COLOCATED),
        (("published", {"vllm": "off"}, ON, new, small), [False, "colocate", 0.3, None, None]),
        (("published", {}, ON, None, small), "vLLM is not installed"),
        (("starter_cpu", {}, OFF, new, small), [False, "colocate", 0.3, None, None]),
        (("published", server, ON, new, small), [True, "server", 0.3, None, "http://rollouts:8001"]),
        (("published", server, ON, None, small), "vllm = server, but vLLM is not installed"),
        (("published", {"vllm": "colocate"}, ON, None, small), "vllm = colocate, but vLLM is not installed"),
        (("published", {"vllm": "colocate"}, OFF, new, small), "vllm = colocate, but this training runs without a GPU"),
        # One GPU of 80 GB: what TRL would stumble over minutes later is known before, and auto goes on without vLLM.
        (("one_big_gpu", memory, ON, new, seven), COLOCATED),
        (("one_big_gpu", memory | {"vllm": "colocate"}, ON, "0.21.4", seven), "TRL works with vLLM 0.22.0 to 0.31.0"),
        (("one_big_gpu", memory, ON, "0.32.0", seven), "and 0.32.0 is installed"),
        (
            ("one_big_gpu", {"vllm_memory": 0.1}, ON, new, seven),
            "vllm_memory = 0.1 gives it 8.0 of 80 GB; set vllm_memory=0.22",
        ),
        (("one_big_gpu", {"vllm_memory": 0.85}, ON, new, seven), "set vllm_sleep=true"),
        (
            ("one_big_gpu", {"vllm_memory": 0.85, "vllm_sleep": True}, ON, new, seven),
            [True, "colocate", 0.85, 768, None],
        ),
        (("one_big_gpu", {}, ON, new, "40B"), "use a server on another GPU"),
        (("starter_cpu", {}, ON, new, "starter"), "a model this small gains nothing"),
    ]
    found = told(*(case for case, _ in cases))
    for (case, expected), trl in zip(cases, found, strict=True):
        if isinstance(expected, str):
            sentence = trl.get("refused") or "".join(trl["messages"])
            assert expected in sentence and ("refused" in trl or not trl["use_vllm"]), (case, sentence)
        else:
            assert [trl[name] for name in VLLM] == expected, case
    published = found[3]
    # Batch 32 × n = 4, mini-batches of 16 × 4 over four processes; the entropy term is off.
    expected_fields = {
        "generation_batch_size": 128,
        "num_generations": 4,
        "per_device_train_batch_size": 8,
        "gradient_accumulation_steps": 2,
        "max_completion_length": 512,
        "learning_rate": 3e-7,
        "num_train_epochs": 5,
        "beta": 0.001,
        "use_bias_correction_kl": False,
        "loss_type": "bnpo",
        "scale_rewards": "group",
        "epsilon_high": 0.2,
        "entropy_coef": 0.0,
    }
    assert {name: published[name] for name in expected_fields} == expected_fields


def test_a_base_that_vllm_was_given_merged_comes_back_exactly() -> None:
    """TRL 1.16 merges and unmerges the adapter for every rollout; in bfloat16 that alone wears the base away."""
    found = json.loads(probe("merges").stdout.splitlines()[-1])
    assert found["plain"] > 0.05 and found["exact"] == 0.0
    assert found["plain_merged"] and found["exact_merged"], "vLLM is given the adapter"
    assert found["shape"], "its weights are counted from the configuration"


@pytest.mark.parametrize(
    ("preset", "values"),
    [
        (
            "one_small_gpu",
            {"lora_rank": 16, "learning_rate": 1e-5, "beta": 0.01, "prompts": 8, "generations": 8},
        ),
        (
            "one_big_gpu",
            {"lora_rank": 32, "learning_rate": 5e-6, "beta": 0.001, "prompts": 32, "generations": 8},
        ),
        (
            "starter_cpu",
            {"lora_rank": 0, "learning_rate": 1e-4, "beta": 0.03, "prompts": 8, "generations": 8},
        ),
    ],
)
def test_the_presets_for_one_machine(preset: str, values: dict[str, float]) -> None:
    settings = settings_for("grpo", preset, {})
    assert isinstance(settings, GrpoSettings) and settings.processes == 1
    assert {name: getattr(settings, name) for name in values} == values
    assert settings.gradient_checkpointing is (preset != "starter_cpu")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"vllm": "server", "vllm_server": "rollouts:8001"}, "vllm_server"),
        ({"prompts": 3, "generations": 5}, "prompts × generations = 15"),
        ({"generations": 1}, "generations"),
        ({"max_length": 64, "max_new_tokens": 64}, "no room for the request"),
        ({"length_low": 90, "length_high": 60}, "length_low"),
        ({"reward": "pairwise"}, "reward"),
        ({"monitor": {"fit": [0.2, 0.9]}}, "fit"),
        ({"kl": 0.1}, "kl"),
        ({"importance_sampling_level": "sequence", "loss_type": "bnpo"}, "use loss_type = grpo"),
        ({"loss_type": "luspo"}, "needs importance_sampling_level = sequence"),
        ({"loss_type": "vespo", "importance_sampling_level": "sequence"}, "needs importance_sampling_level = token"),
        ({"loss_type": "cispo"}, "epsilon_high is the largest weight"),
        ({"epsilon": 0.3}, "epsilon_high must not be below"),
        ({"prompt_template": "只写一条祝福"}, "prompt_template must hold {request}"),
        ({"resample_groups": 1, "prompts": 8, "processes": 3, "batch_size": 1}, "rollout of prompts"),
        ({"resample_groups": 1, "prompts": 2, "generations": 8, "processes": 4, "batch_size": 4}, "whole groups"),
        (
            dict.fromkeys(
                ("reward_weight", "length_weight", "repetition_weight", "diversity_weight", "format_weight"),
                0,
            ),
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
        "import sys; from backend.training.settings import settings_for; settings_for('grpo', None, {});"
        "import backend.training.settings, backend.generation.diversity; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
