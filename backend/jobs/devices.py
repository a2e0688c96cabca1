"""The slots of this machine: its GPUs, or one stand-in where there is none. Found without torch."""

import os
import subprocess
from collections.abc import Sequence

CPU = "cpu:"


def find_devices(slots: int | None) -> tuple[str, ...]:
    """Names of the devices a worker may give to jobs: at most `slots` GPUs, or `slots` (one) on a CPU."""
    gpus = _gpus()
    if gpus:
        return gpus[:slots]
    return tuple(f"{CPU}{number}" for number in range(1 if slots is None else slots))


def visible(devices: Sequence[str]) -> str:
    """The value of CUDA_VISIBLE_DEVICES for a job with these devices; empty hides every GPU."""
    return ",".join(name for name in devices if not name.startswith(CPU))


def _gpus() -> tuple[str, ...]:
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is not None:
        return tuple(name.strip() for name in allowed.split(",") if name.strip() not in ("", "-1"))
    try:
        shown = subprocess.run(
            ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(shown.stdout.split())
