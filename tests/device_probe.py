"""What devices, numbers and processes a training chooses on machines that are not here: `python -m tests.device_probe`.

torch.cuda and the installed packages are replaced; printed is JSON, by the name of the case.
"""

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from accelerate.commands.launch import _validate_launch_command, launch_command_parser

from backend.core.errors import UserError
from backend.db.engine import Database
from backend.generation.serving import ServeSettings
from backend.jobs.report import JobReport
from backend.training.programs import launch, precision, reward_server, serve, sharding
from backend.training.programs.environment import PARENT_VARIABLE
from backend.training.programs.program import TrainingRun
from backend.training.programs.reward_judges import RewardModelReward
from backend.training.programs.rewards import MixedReward
from backend.training.settings import parse_settings

GPU, OLD_GPU, CPU = "gpu", "gpu without bfloat16", "cpu"
FOUR = {"processes": 4, "lora_rank": 0}


def case(machine: str, program: str = "sft", packages: tuple[str, ...] = (), **values: Any) -> dict[str, Any]:
    """How a model is loaded and what its processes are started with, or the sentence that refuses it."""
    with (
        tempfile.TemporaryDirectory() as folder,
        patch("torch.cuda.is_available", lambda: machine != CPU),
        patch("torch.cuda.device_count", lambda: 4),
        patch("torch.cuda.is_bf16_supported", lambda including_emulation=True: including_emulation or machine == GPU),
        patch("torch.cpu._is_avx512_bf16_supported", lambda: False),
        patch("torch.cpu._is_amx_tile_supported", lambda: False),
        patch("importlib.util.find_spec", lambda name: name in packages or None),
    ):
        out = Path(folder)
        training_run = TrainingRun(
            program, parse_settings(program, values), out, out, JobReport(None, None), lambda: Database(""), None
        )
        return answered(lambda: facts(training_run))


def facts(training_run: TrainingRun[Any]) -> dict[str, Any]:
    """Of a run: device, numbers, options of loading, and what accelerate makes of its configuration file."""
    options = precision.build_loading_options(training_run)
    results = {"device": training_run.device, "compute": str(training_run.compute_dtype)} | {
        name: value.to_dict() if hasattr(value, "to_dict") else str(value) for name, value in options.items()
    }
    if launch.starts_processes(training_run.settings):
        launch.check_device_count(training_run)
        command = ["--config_file", str(sharding.write_accelerate_config(training_run)), "-m", "nothing"]
        launch_arguments = vars(_validate_launch_command(launch_command_parser().parse_args(command))[0])
        results |= {name: value for name, value in launch_arguments.items() if isinstance(value, bool | int | str)}
    return results


def answered(answer: Callable[[], Any]) -> Any:
    """What it gives, or the sentence that refuses it."""
    try:
        return answer()
    except UserError as error:
        return {"refused": error.message.en, "zh": error.message.zh}


def assigned(gpus: str, **values: Any) -> Any:
    """A training on this machine, whose torch sees no GPU, with GPUs in its environment."""
    with patch.dict(os.environ, {"CUDA_VISIBLE_DEVICES": gpus}):
        return case(CPU, **values)


def served(gpus: str) -> Any:
    """The command that serves a model on this machine, whose torch sees no GPU, with GPUs in its environment."""
    with patch.dict(os.environ, {"CUDA_VISIBLE_DEVICES": gpus}):
        return answered(lambda: serve._server_command(ServeSettings(artifact="latest"), "model", 8000)[-1])


def placed() -> list[Any]:
    """The devices that a mixed reward's model is loaded on, in two processes' turn."""
    reward = MixedReward([(1.0, RewardModelReward(Path("/nowhere"))), (0.5, RewardModelReward(Path("/nowhere")))])
    with patch("backend.training.programs.reward_server.RewardModel") as model:
        for device in ("cuda:0", "cuda:1"):
            reward.place(device)
        results = [one.args[3] for one in model.call_args_list]
    return [*results, answered(reward.prepare)]


def reward_numbers() -> list[str]:
    """What a reward model is loaded in, on the devices that trainers name."""
    results = []
    with patch.object(reward_server, "AutoModelForSequenceClassification") as classifier:
        classifier.from_pretrained.return_value.config.num_labels = 1
        for device in ("cpu", "cpu:0", "cuda:1"):
            reward_server.load_model(Path("/nowhere"), device)
            results.append(str(classifier.from_pretrained.call_args.kwargs["dtype"]))
    return results


def raised() -> list[list[str]]:
    """Numbers of a frozen and a trained weight, before training in float16 and in bfloat16."""
    results = []
    for compute_dtype in (torch.float16, torch.bfloat16):
        model = torch.nn.Linear(2, 2, dtype=torch.bfloat16)
        model.weight.requires_grad = False
        precision.raise_trained_weights(model, compute_dtype)
        results.append([str(model.weight.dtype), str(model.bias.dtype)])
    return results


def passed_on() -> list[Any]:
    """What a parent reads of the errors that its processes leave; a process without a parent leaves none."""
    with tempfile.TemporaryDirectory() as name:
        folder, results = Path(name), []
        for variables in ({}, {PARENT_VARIABLE: "1"}):
            with patch.dict(os.environ, variables):
                for sentence in ("the first", "what followed from it"):
                    launch.note_error(folder, UserError(sentence, "中文"))
            error = launch._read_error(folder / launch.ERROR_FILE)
            results.append(error and [error.message.en, error.message.zh])
    return results


def main() -> dict[str, Any]:
    """Every case."""
    four_bits = {"quantization": "4bit", "lora_rank": 8}
    flash = {"attention": "flash_attention_2"}
    return {
        "whole": case(GPU),
        "lora": case(GPU, lora_rank=8),
        "lora float32": case(GPU, lora_rank=8, dtype="float32"),
        "old": case(OLD_GPU),
        "old lora": case(OLD_GPU, lora_rank=8),
        "old, bfloat16": case(OLD_GPU, dtype="bfloat16"),
        "cpu": case(CPU),
        "cpu float16": case(CPU, dtype="float16"),
        "cpu sdpa": case(CPU, attention="sdpa"),
        "assigned": assigned("0,1"),
        "assigned but cpu": assigned("0", device="cpu"),
        "none assigned": assigned("-1"),
        "4bit": case(GPU, packages=("bitsandbytes",), **four_bits),
        "4bit reward model": case(GPU, "reward_model", ("bitsandbytes",), **four_bits),
        "4bit cpu": case(CPU, packages=("bitsandbytes",), **four_bits),
        "4bit missing": case(GPU, **four_bits),
        "flash": case(GPU, packages=("flash_attn",), **flash),
        "flash missing": case(GPU, **flash),
        "flash cpu": case(CPU, packages=("flash_attn",), **flash),
        "flash float32": case(GPU, packages=("flash_attn",), dtype="float32", **flash),
        "bfd": case(GPU, packages=("flash_attn",), packing="bfd"),
        "bfd without flash": case(GPU, packing="bfd"),
        "four": case(GPU, **FOUR),
        "too many": case(GPU, processes=8),
        "fsdp": case(GPU, "grpo", sharding="fsdp", **FOUR, prompts=64, batch_size=2),
        "fsdp offload": case(GPU, sharding="fsdp", offload=True, **FOUR),
        "fsdp cpu": case(CPU, sharding="fsdp", processes=2),
        "zero2": case(GPU, packages=("deepspeed",), sharding="zero2", offload=True, **FOUR),
        "zero3": case(GPU, packages=("deepspeed",), sharding="zero3", offload=True, **FOUR),
        "zero3 missing": case(GPU, sharding="zero3", **FOUR),
        "served": served("0"),
        "served on the CPU": served(""),
        "placed": placed(),
        "reward numbers": reward_numbers(),
        "raised": raised(),
        "passed on": passed_on(),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(main()))
