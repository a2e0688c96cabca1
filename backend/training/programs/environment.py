"""What must be settled before torch is loaded. Standard library only."""

import ctypes
import os
import platform
import sys

# Numbers of glibc's malloc.h, which ctypes does not know by name.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
QUIET_ENVIRONMENT = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
}


def prepare_environment() -> None:
    """No telemetry, no progress bars in logs, no forking tokenizers, no page-fault storms."""
    for variable_name, variable_text in QUIET_ENVIRONMENT.items():
        # What the operator has set stays.
        os.environ.setdefault(variable_name, variable_text)
    keep_freed_memory()


def keep_freed_memory() -> None:
    """Let glibc keep freed memory: a step frees and takes the same large blocks again and again."""
    if sys.platform == "linux" and platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def assigned_gpus() -> list[str]:
    """Names of the GPUs that the environment gives to this process (a job's are those of its slots)."""
    listed_names = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    return [gpu_name.strip() for gpu_name in listed_names if gpu_name.strip() not in ("", "-1")]


# Set by the program that starts the processes of its training (`launch.py`), and by nobody else.
PARENT_VARIABLE = "ZHUFU_TRAINING_PARENT"


def has_parent_program() -> bool:
    """Whether the same program started this process, and has made sure of devices and data."""
    return PARENT_VARIABLE in os.environ


def process_rank() -> int:
    """Which of several processes of one training this is (`accelerate launch` sets it)."""
    return int(os.environ.get("RANK", "0"))


def process_count() -> int:
    """How many processes this training has."""
    return int(os.environ.get("WORLD_SIZE", "1"))
