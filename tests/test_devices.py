"""Devices, numbers and processes of a training: chosen, refused in one sentence, and written for accelerate."""

import json
from typing import Any

import pytest

from backend.core.errors import UserError
from backend.training.settings import parse_settings, settings_for
from tests import warm


@pytest.fixture(scope="module")
def answers() -> dict[str, Any]:
    """What `tests.device_probe` finds."""
    done = warm.run("tests.device_probe")
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("whole", {"device": "cuda", "compute": "torch.bfloat16", "dtype": "torch.float32"}),
        ("lora", {"compute": "torch.bfloat16", "dtype": "torch.bfloat16"}),
        ("lora float32", {"compute": "torch.float32", "dtype": "torch.float32"}),
        ("old", {"compute": "torch.float16", "dtype": "torch.float32"}),
        ("old lora", {"compute": "torch.float16", "dtype": "torch.float16"}),
        ("old, bfloat16", {"compute": "torch.bfloat16"}),
        ("cpu", {"device": "cpu", "dtype": "torch.float32", "attn_implementation": "eager"}),
        ("cpu sdpa", {"attn_implementation": "sdpa"}),
        ("assigned but cpu", {"device": "cpu"}),
        ("none assigned", {"device": "cpu"}),
        ("4bit", {"device_map": "{'': 0}", "dtype": "torch.bfloat16"}),
        ("flash", {"attn_implementation": "flash_attention_2"}),
        ("bfd", {"attn_implementation": "flash_attention_2"}),
        ("four", {"multi_gpu": True, "use_fsdp": False, "num_processes": 4, "mixed_precision": "bf16"}),
        (
            "fsdp",
            {
                "use_fsdp": True,
                "multi_gpu": False,
                "num_processes": 4,
                "mixed_precision": "bf16",
                "main_process_port": 0,
                "fsdp_version": 2,
                "fsdp_reshard_after_forward": True,
                "fsdp_offload_params": False,
                "fsdp_state_dict_type": "SHARDED_STATE_DICT",
                "fsdp_cpu_ram_efficient_loading": False,
                "dtype": "torch.bfloat16",
            },
        ),
        ("fsdp offload", {"fsdp_offload_params": True}),
        (
            "zero2",
            {
                "use_deepspeed": True,
                "zero_stage": 2,
                "offload_optimizer_device": "cpu",
                "offload_param_device": "none",
                "dtype": "torch.bfloat16",
            },
        ),
        ("zero3", {"zero_stage": 3, "offload_param_device": "cpu", "zero3_save_16bit_model": True}),
    ],
)
def test_what_a_machine_is_given(answers: dict[str, Any], name: str, expected: dict[str, Any]) -> None:
    assert {field: answers[name].get(field) for field in expected} == expected


def test_four_bits_as_in_qlora_but_for_the_output(answers: dict[str, Any]) -> None:
    config = answers["4bit reward model"]["quantization_config"]
    assert config["load_in_4bit"] and config["bnb_4bit_quant_type"] == "nf4" and config["bnb_4bit_use_double_quant"]
    assert config["bnb_4bit_compute_dtype"] == "bfloat16" and "score" in config["llm_int8_skip_modules"]


def test_nothing_is_forced_on_the_attention_of_a_gpu(answers: dict[str, Any]) -> None:
    assert "attn_implementation" not in answers["whole"] and "attn_implementation" not in answers["bfd without flash"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cpu float16", "float16 needs a GPU"),
        ("assigned", "GPU 0, 1 is assigned to this job, but torch sees none"),
        ("served", "GPU 0 is assigned to this job, but torch sees none"),
        ("4bit cpu", "4bit needs a GPU"),
        ("4bit missing", "bitsandbytes is not installed"),
        ("flash missing", "flash-attn is not installed"),
        ("flash cpu", "needs a GPU"),
        ("flash float32", "needs a GPU and dtype bfloat16 or float16"),
        ("too many", "processes = 8, but 4 GPUs can be used here"),
        ("fsdp cpu", "sharding = fsdp needs GPUs"),
        ("zero3 missing", "DeepSpeed is not installed"),
    ],
)
def test_what_a_machine_cannot_do_is_one_sentence(answers: dict[str, Any], name: str, words: str) -> None:
    assert words in answers[name]["refused"] and "\n" not in answers[name]["refused"]
    assert answers[name]["zh"] and answers[name]["zh"] != answers[name]["refused"]


def test_a_model_is_served_on_the_cpu_where_the_job_has_no_gpu(answers: dict[str, Any]) -> None:
    assert answers["served on the CPU"] == "8000"


def test_what_is_trained_in_float16_has_float32_weights(answers: dict[str, Any]) -> None:
    assert answers["raised"] == [["torch.bfloat16", "torch.float32"], ["torch.bfloat16", "torch.bfloat16"]]


def test_a_reward_model_goes_where_the_trainer_is(answers: dict[str, Any]) -> None:
    """Before, every process of a training loaded its own onto the first GPU."""
    *devices, refused = answers["placed"]
    assert devices == ["cuda:0"] * 2 + ["cuda:1"] * 2
    assert "The reward model at /nowhere cannot be loaded" in refused["refused"]


def test_a_reward_model_of_float16_computes_in_float32_on_any_cpu(answers: dict[str, Any]) -> None:
    """Of several processes each CPU has a number."""
    assert answers["reward numbers"] == ["torch.float32", "torch.float32", "auto"]


def test_a_parent_passes_on_the_first_error_of_its_processes(answers: dict[str, Any]) -> None:
    assert answers["passed on"] == [None, ["the first", "中文"]]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"sharding": "fsdp"}, "set processes above 1"),
        ({"sharding": "fsdp", "processes": 2, "device": "cpu"}, "needs GPUs"),
        ({"offload": True, "processes": 2}, "set sharding as well"),
        ({"quantization": "4bit"}, "set lora_rank"),
        ({"quantization": "4bit", "lora_rank": 8, "device": "cpu"}, "needs a GPU"),
        ({"quantization": "4bit", "lora_rank": 8, "processes": 2, "sharding": "zero3"}, "set sharding = none"),
        ({"dtype": "float16", "device": "cpu"}, "float16 needs a GPU"),
        ({"attention": "flash_attention_2", "device": "cpu"}, "needs a GPU"),
        ({"attention": "paged"}, "attention"),
        ({"processes": 0}, "processes"),
    ],
)
@pytest.mark.parametrize("program", ["sft", "reward_model"])
def test_settings_that_contradict_each_other(program: str, values: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as refused:
        settings_for(program, None, values)
    assert words in str(refused.value) and "\n" not in str(refused.value)


def test_a_slot_for_each_process() -> None:
    assert [parse_settings("sft", {"processes": count}).slot_count for count in (1, 3)] == [1, 3]
