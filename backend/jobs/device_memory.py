"""How much memory each device of a worker has, in GB: a card's by its driver, the machine's for a CPU. No torch here.

A card's memory is counted in GiB and called GB, as it is sold: the 7 % between the two go to the driver's context,
to workspaces of libraries, and to gaps that the allocator cannot fill.
"""

import os
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]

BYTES_PER_UNIT = 2**30
MEGABYTES_PER_UNIT = 1024
# What a container may take; the machine's own memory says nothing there.
CONTAINER_LIMIT_FILE = Path("/sys/fs/cgroup/memory.max")


def find_device_memory(devices: Sequence[str], cpu_prefix: str) -> tuple[float | None, ...]:
    """GB of every device, in their order; None where the driver does not say."""
    card_memory = _read_card_memory() if any(not name.startswith(cpu_prefix) for name in devices) else {}
    return tuple(machine_memory() if name.startswith(cpu_prefix) else card_memory.get(name) for name in devices)


def machine_memory() -> float:
    """GB of this machine, or of the container that this process runs in."""
    total_bytes = psutil.virtual_memory().total
    with suppress(OSError, ValueError):  # No container, or one without a limit (“max”).
        total_bytes = min(total_bytes, int(CONTAINER_LIMIT_FILE.read_text("ascii")))
    return round(float(total_bytes) / BYTES_PER_UNIT, 1)


def _read_card_memory() -> dict[str, float]:
    """GB by index and by UUID: CUDA_VISIBLE_DEVICES may name a card either way."""
    query = ["nvidia-smi", "--query-gpu=index,uuid,memory.total", "--format=csv,noheader,nounits"]
    environment = os.environ | {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    try:
        # A driver that hangs must not keep the worker from its other jobs.
        listing = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True, env=environment)
    except (OSError, subprocess.SubprocessError):
        return {}
    memory_by_name: dict[str, float] = {}
    for line in listing.stdout.splitlines():
        index, uuid, megabytes = (*(part.strip() for part in line.split(",")), "", "")[:3]
        # A slice of a card (MIG) reports no memory of its own here.
        if megabytes.isdigit():
            memory_by_name |= dict.fromkeys((index, uuid), round(int(megabytes) / MEGABYTES_PER_UNIT, 1))
    return memory_by_name
