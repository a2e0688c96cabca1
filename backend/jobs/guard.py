"""What is checked on the machine before a program is started."""

import shutil
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from backend.errors import Message, UserError
from backend.jobs.options import JobOptions

MB = 1_000_000


def obstacle(home: Path, options: JobOptions) -> Message | None:
    """Why no job can be started on this machine now, None where nothing is in the way."""
    disk, memory = shutil.disk_usage(home).free // MB, psutil.virtual_memory().available // MB
    if disk < options.min_free_disk_mb:
        return Message(
            f"Only {disk} MB of disk are free at {home}, {options.min_free_disk_mb} MB are needed; "
            "free some space and resume the job.",
            f"{home} 所在磁盘只剩 {disk} MB，至少需要 {options.min_free_disk_mb} MB，请清理后继续任务。",
        )
    if memory < options.min_free_memory_mb:
        return Message(
            f"Only {memory} MB of memory are free, {options.min_free_memory_mb} MB are needed; "
            "end other programs and resume the job.",
            f"内存只剩 {memory} MB，至少需要 {options.min_free_memory_mb} MB，请关闭其他程序后继续任务。",
        )
    return None


def disk_full(home: Path) -> bool:
    """Whether not even a few last words can be written."""
    return shutil.disk_usage(home).free < 4 * MB


def refuse(home: Path, options: JobOptions) -> None:
    """Raise UserError where `obstacle` finds one."""
    found = obstacle(home, options)
    if found is not None:
        raise UserError(found.en, found.zh)
