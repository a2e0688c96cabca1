"""Named settings of every training program, for the machines that people have. Values only, no torch.

Each program has the same five names. Whatever a preset leaves out has the default of the program's settings.
"""

from typing import Any

from backend.corpus.shapes import PROMPT_TEMPLATE
from backend.generation.serving import LATEST

PresetValues = dict[str, Any]

PRESET_NAMES = ("starter", "one_small_gpu", "one_big_gpu", "four_gpus", "published")
DEFAULT_PRESET = "starter"

_SEVEN_BILLION = "Qwen/Qwen2.5-7B-Instruct"
# Without checkpointing a batch of 16 texts of 768 tokens takes 119 GB, as a reward model of 16 pairs 222 GB.
_QWEN_LORA = {
    "base": _SEVEN_BILLION,
    "lora_rank": 16,
    "lora_alpha": 32,
    "learning_rate": 2e-4,
    "gradient_checkpointing": True,
}
_SMALL_QWEN_LORA = {**_QWEN_LORA, "base": "Qwen/Qwen2.5-1.5B-Instruct", "max_length": 512}
_CPU_SFT = {"learning_rate": 3e-3, "epochs": 10, "batch_size": 16, "max_length": 96, "lora_rank": 0}
_STARTER_SFT = {
    **_CPU_SFT,
    "composed": True,
    "shape": "wide",
    "learning_rate": 4e-3,
    "adam_beta2": 0.95,
    "batch_size": 32,
    "epochs": 3,
    "log_every": 50,
    "eval_every": 1000,
    "sample_every": 1000,
}
_CPU_REWARD_MODEL = {
    "base": LATEST,
    "learning_rate": 5e-4,
    "epochs": 1,
    "batch_size": 32,
    "max_length": 160,
    "lora_rank": 0,
}
_STARTER_REWARD_MODEL = {**_CPU_REWARD_MODEL, "composed": True, "learning_rate": 2e-3, "epochs": 2}
_STARTER_DPO = {
    "base": LATEST,
    "composed": True,
    "learning_rate": 1e-4,
    "epochs": 1,
    "batch_size": 32,
    "max_length": 160,
    "lora_rank": 0,
}
_BIG_GPU_DPO = {
    **_QWEN_LORA,
    "learning_rate": 1e-5,
    "epochs": 1,
    "max_length": 768,
}

# Every step is logged, since the monitor takes the mean of what was logged between two of its readings.
# Rollouts are written without dropout, so none is trained with.
_CONSTANT_SCHEDULE = {
    "scheduler": "constant",
    "warmup": 0.0,
    "loss_type": "grpo",
    "log_every": 1,
    "lora_dropout": 0.0,
}
_CPU_GRPO = {
    **_CONSTANT_SCHEDULE,
    "learning_rate": 1e-4,
    "beta": 0.03,
    "prompts": 8,
    "generations": 8,
    "batch_size": 64,
    "max_new_tokens": 96,
    "max_length": 160,
    "max_steps": 56,
    "sample_every": 8,
    # A reward model alone took a small policy from 33 to 131 characters in 56 steps, all of it “excellent”.
    "format_weight": 0.5,
    "repetition_weight": 0.5,
    "diversity_weight": 0.5,
    "length_weight": 0.5,
}
_BIG_GPU_GRPO = {
    **_CONSTANT_SCHEDULE,
    "lora_rank": 32,
    "learning_rate": 5e-6,
    "beta": 0.001,
    "prompts": 32,
    "generations": 8,
    "batch_size": 32,
    "accumulation": 4,
    "max_new_tokens": 512,
    "max_length": 768,
    "gradient_checkpointing": True,
    "eval_every": 10,
    "sample_every": 20,
}

# By program and name. Of the published SFT and reward model: LoRA r = 16, lr 2e-4, 16 × 8.
PRESETS: dict[str, dict[str, PresetValues]] = {
    "sft": {
        "starter": _STARTER_SFT,
        "one_small_gpu": {**_SMALL_QWEN_LORA, "epochs": 3, "batch_size": 4, "accumulation": 8},
        "one_big_gpu": {**_QWEN_LORA, "epochs": 3, "batch_size": 16, "accumulation": 2, "max_length": 768},
        # The step of one big GPU, shared by four.
        "four_gpus": {**_QWEN_LORA, "epochs": 3, "batch_size": 8, "accumulation": 1, "max_length": 768, "processes": 4},
        # The publication says "LoRA" of SFT and no more; the reward model's figures stand in.
        "published": {**_QWEN_LORA, "epochs": 5, "batch_size": 16, "accumulation": 8, "max_length": 768},
    },
    "reward_model": {
        "starter": _STARTER_REWARD_MODEL,
        "one_small_gpu": {**_SMALL_QWEN_LORA, "epochs": 2, "batch_size": 4, "accumulation": 16},
        "one_big_gpu": {**_QWEN_LORA, "epochs": 2, "batch_size": 16, "accumulation": 4, "max_length": 768},
        "four_gpus": {
            **_QWEN_LORA,
            "epochs": 2,
            "batch_size": 16,
            "accumulation": 1,
            "max_length": 768,
            "processes": 4,
        },
        "published": {
            **_QWEN_LORA,
            "epochs": 5,
            "batch_size": 16,
            "accumulation": 8,
            "max_length": 768,
            "center_rewards": 0.0,
        },
    },
    "dpo": {
        "starter": _STARTER_DPO,
        "one_small_gpu": {**_SMALL_QWEN_LORA, "learning_rate": 2e-5, "epochs": 1, "batch_size": 2, "accumulation": 16},
        "one_big_gpu": {**_BIG_GPU_DPO, "batch_size": 8, "accumulation": 4},
        "four_gpus": {**_BIG_GPU_DPO, "batch_size": 8, "accumulation": 1, "processes": 4},
        # The publication has no DPO: LoRA and steps of its reward model on the same pairs, DPO's usual beta.
        "published": {**_BIG_GPU_DPO, "batch_size": 8, "accumulation": 16},
    },
    "grpo": {
        "starter": _CPU_GRPO,
        "one_small_gpu": {
            **_CONSTANT_SCHEDULE,
            "lora_rank": 16,
            "learning_rate": 1e-5,
            "beta": 0.01,
            "prompts": 8,
            "generations": 8,
            "batch_size": 8,
            "accumulation": 8,
            "max_new_tokens": 192,
            "max_length": 448,
            "gradient_checkpointing": True,
            "eval_every": 20,
            "sample_every": 20,
        },
        "one_big_gpu": _BIG_GPU_GRPO,
        # The updates of one big GPU, shared by four; a rollout feeds two of them, so that generation is full.
        "four_gpus": {**_BIG_GPU_GRPO, "batch_size": 16, "accumulation": 2, "processes": 4},
        # Published: batch 32, 256/512 tokens, n = 4, lr 3e-7, mini-batch 16, KL .001 (k3), 5 epochs, entropy 0.
        # Batch 32 and mini-batch 16 count requests there: rollouts of 32 × 4, updates of 16 × 4 greetings.
        "published": {
            **_CONSTANT_SCHEDULE,
            # verl's token mean: over the tokens of a device's batch, not first over those of each greeting.
            "loss_type": "bnpo",
            "prompt_template": PROMPT_TEMPLATE + "{request}",
            "learning_rate": 3e-7,
            "beta": 0.001,
            "prompts": 32,
            "generations": 4,
            "batch_size": 8,
            "accumulation": 2,
            "processes": 4,
            # Every weight of 7 billion is trained: 122 GB of weights, gradients and optimizer, a quarter a GPU.
            "sharding": "fsdp",
            # The share of 80 % there would leave no room for the policy's own part beside vLLM while it writes.
            "vllm_memory": 0.5,
            "vllm_sleep": True,
            "max_new_tokens": 512,
            "max_length": 768,
            "epochs": 5,
            "gradient_checkpointing": True,
            "eval_every": 20,
            "sample_every": 50,
        },
    },
}

# Names of earlier versions: commands and scripts that have them go on, pages no longer show them.
OLDER_PRESETS: dict[str, dict[str, PresetValues]] = {
    "sft": {"starter_cpu": _CPU_SFT},
    "reward_model": {"starter_cpu": _CPU_REWARD_MODEL},
    "grpo": {"starter_cpu": _CPU_GRPO},
}
