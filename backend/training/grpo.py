"""`python -m backend.training.grpo`: learning from rewards (GRPO), watched for collapse.

On several GPUs (or CPU cores) set `processes`: the program starts itself again under `accelerate launch`. By
hand the same is `accelerate launch --num_processes 4 -m backend.training.grpo --job N`, with accelerate's own
configuration file for FSDP and DeepSpeed; the monitor reads whole models only, and is off under these two.
"""

import importlib.util
import math
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from backend.errors import UserError
from backend.text import length, squeeze
from backend.training import models
from backend.training.card import Kind
from backend.training.collapse import CollapseMonitor
from backend.training.environment import rank
from backend.training.monitor import HeldOut, Watch
from backend.training.program import Run, main
from backend.training.reward_memory import RewardMemory
from backend.training.reward_setup import gold_of, reward_of
from backend.training.rewards import Reward
from backend.training_runs.config_grpo import GrpoSettings
from backend.vocabulary import Split


def train(run: Run[GrpoSettings]) -> None:
    """Load policy and reward, train under the monitor, keep the best checkpoint."""
    if run.settings.processes > 1 and "WORLD_SIZE" not in os.environ:
        _spread(run)
        return
    chosen, snapshot = run.settings, run.snapshot
    base = models.base_of(run, snapshot.rows("sft", Split.TRAIN), "completion")
    tokenizer = models.load_tokenizer(base, chosen.revision)
    tokenizer.padding_side = "left"
    requests = _requests(run, tokenizer)
    reward = reward_of(run)
    reward.prepare()
    trainer = GRPOTrainer(
        model=models.load_policy(run, base),
        reward_funcs=reward,
        args=_arguments(run),
        train_dataset=_prompts(requests),
        processing_class=tokenizer,
        peft_config=models.lora(chosen, "CAUSAL_LM"),
    )
    run.stop_if_asked()
    watch = _watch(run, trainer, reward, tokenizer)
    try:
        metrics = run.fit(trainer, [watch, RewardMemory(reward)])
    finally:
        reward.close()
    if watch.sharded:
        run.save(trainer)
    if rank() == 0:
        _finish(run, watch, metrics)


def _requests(run: Run[GrpoSettings], tokenizer: Any) -> list[str]:
    """The training requests that are short enough. Raises UserError for fewer than a rollout takes."""
    chosen = run.settings
    known = {squeeze(row["prompt"]): row["prompt"] for row in run.snapshot.rows("prompts", Split.TRAIN)}
    turns = {text: [{"role": "user", "content": text}] for text in known.values()}
    fitting = [
        text
        for text, turn in turns.items()
        if len(tokenizer.apply_chat_template(turn, add_generation_prompt=True, return_dict=False))
        <= chosen.prompt_tokens
    ]
    run.report.log(f"requests: {len(fitting)} of {len(known)} have at most {chosen.prompt_tokens} tokens")
    if len(fitting) < chosen.prompts:
        raise models.too_little(run, len(fitting), chosen.prompts)
    return fitting


def _prompts(requests: list[str]) -> Dataset:
    return Dataset.from_list(
        [{"prompt": [{"role": "user", "content": text}], "request": text} for text in requests]
    )


def _arguments(run: Run[GrpoSettings]) -> GRPOConfig:
    chosen = run.settings
    return GRPOConfig(
        **run.arguments(),
        generation_batch_size=chosen.rollout,
        num_generations=chosen.generations,
        max_completion_length=chosen.max_new_tokens,
        temperature=chosen.temperature,
        top_p=chosen.top_p,
        beta=chosen.beta,
        loss_type=chosen.loss_type,
        # The plain k3 of the publication; TRL would multiply it by the importance ratio.
        use_bias_correction_kl=False,
        **_vllm(run),
    )


def _vllm(run: Run[GrpoSettings]) -> dict[str, Any]:
    wish, there = run.settings.vllm, importlib.util.find_spec("vllm") is not None
    if wish in ("colocate", "server") and not there:
        raise UserError(
            f"vllm = {wish}, but vLLM is not installed; install “trl[vllm]” or set vllm=off.",
            f"vllm = {wish}，但没有安装 vLLM，请安装 trl[vllm] 或设为 off。",
        )
    if wish == "off" or (wish == "auto" and not (there and run.device == "cuda")):
        return {"use_vllm": False}
    if wish == "server":
        return {"use_vllm": True, "vllm_mode": "server", "vllm_server_base_url": run.settings.vllm_server}
    return {
        "use_vllm": True,
        "vllm_mode": "colocate",
        "vllm_gpu_memory_utilization": run.settings.vllm_memory,
        # The whole context of a hub model would need a cache that no share of the GPU holds.
        "vllm_max_model_length": run.settings.max_length,
    }


def _watch(run: Run[GrpoSettings], trainer: GRPOTrainer, reward: Reward, tokenizer: Any) -> Watch:
    chosen = run.settings
    accepted = [length(row["completion"]) for row in run.snapshot.rows("sft", Split.TRAIN)]
    usual = sum(accepted) / len(accepted) if accepted else math.nan

    def save(folder: Path) -> None:
        trainer.save_model(str(folder))
        (folder / "training_args.bin").unlink(missing_ok=True)

    return Watch(
        monitor=CollapseMonitor(chosen.monitor, usual),
        held_out=HeldOut(_held_out(run), tokenizer, chosen.max_new_tokens, chosen.seed),
        gold=gold_of(run),
        reward=reward,
        report=run.report,
        folder=run.out,
        every=chosen.eval_every,
        samples=chosen.samples,
        sample_every=chosen.sample_every,
        save=save,
    )


def _held_out(run: Run[GrpoSettings]) -> list[str]:
    """Fixed requests that no training row has; the same ones for the same data and seed."""
    _, rows = run.snapshot.held_out("prompts")
    known = sorted({squeeze(row["prompt"]): row["prompt"] for row in rows}.values())
    if len(known) < 2:
        raise models.too_little(run, len(known), 2)
    return random.Random(run.settings.seed).sample(known, min(run.settings.eval_prompts, len(known)))


def _finish(run: Run[GrpoSettings], watch: Watch, metrics: dict[str, Any]) -> None:
    if watch.readings:
        shutil.rmtree(run.artifact, ignore_errors=True)
        watch.best.rename(run.artifact)
        metrics |= watch.summary()
    run.finish(Kind.POLICY, metrics)
    if watch.stopped:
        run.report.progress(1.0, watch.stopped)


def _spread(run: Run[GrpoSettings]) -> None:
    """A process for each GPU or core; this one passes on how they ended. Raises UserError for too few."""
    wanted, on_gpu = run.settings.processes, run.device == "cuda"
    there = torch.cuda.device_count() if on_gpu else len(os.sched_getaffinity(0))
    if there < wanted:
        en, zh = ("GPUs", "GPU") if on_gpu else ("CPU cores", "CPU 核心")
        raise UserError(
            f"processes = {wanted}, but {there} {en} can be used here; lower processes or give the job more.",
            f"processes = {wanted}，但这里只有 {there} 个可用的 {zh}，请减小 processes 或为任务分配更多。",
        )
    shape = {"num_processes": wanted, "num_machines": 1, "mixed_precision": "no", "dynamo_backend": "no"}
    options = [part for name, value in shape.items() for part in (f"--{name}", str(value))]
    # Accelerate's launcher for GPUs is torch's, and gloo works under it; the one for CPUs wants MPI.
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", *options]
    # Of several processes that start in one folder only the first finds it empty.
    again = ["--resume"] if run.job_id is None and "--resume" not in sys.argv else []
    program = subprocess.run([*launcher, "-m", "backend.training.grpo", *sys.argv[1:], *again], check=False)
    if program.returncode:
        run.stop_if_asked()
        raise SystemExit(program.returncode)


if __name__ == "__main__":
    main("grpo", train)
