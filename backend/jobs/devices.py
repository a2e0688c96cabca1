"""The slots of this machine: its GPUs, or one stand-in where there is none. Found without torch."""

import os
import subprocess
from collections.abc import Sequence

CPU_PREFIX = "cpu:"


def find_devices(slot_limit: int | None) -> tuple[str, ...]:
    """Names of the devices a worker may give to jobs: at most `slots` GPUs, or `slots` (one) on a CPU."""
    gpu_names = _find_gpus()
    if gpu_names:
        return gpu_names[:slot_limit]
    return tuple(f"{CPU_PREFIX}{slot_number}" for slot_number in range(1 if slot_limit is None else slot_limit))


def visible_devices(devices: Sequence[str]) -> str:
    """The value of CUDA_VISIBLE_DEVICES for a job with these devices; empty hides every GPU."""
    return ",".join(device_name for device_name in devices if not device_name.startswith(CPU_PREFIX))


def _find_gpus() -> tuple[str, ...]:
    allowed_devices = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed_devices is not None:
        return tuple(
            device_name.strip() for device_name in allowed_devices.split(",") if device_name.strip() not in ("", "-1")
        )
    try:
        gpu_listing = subprocess.run(
            ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(gpu_listing.stdout.split())
