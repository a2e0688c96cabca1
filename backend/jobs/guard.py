"""What is checked on the machine before a program is started."""

import shutil
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from backend.errors import Message, UserError
from backend.jobs.options import JobOptions

MEGABYTE = 1_000_000


def find_obstacle(home_folder: Path, options: JobOptions) -> Message | None:
    """Why no job can be started on this machine now, None where nothing is in the way."""
    free_disk_mb, free_memory_mb = (
        shutil.disk_usage(home_folder).free // MEGABYTE,
        psutil.virtual_memory().available // MEGABYTE,
    )
    if free_disk_mb < options.min_free_disk_mb:
        return Message(
            f"Only {free_disk_mb} MB of disk are free at {home_folder}, {options.min_free_disk_mb} MB are needed; "
            "free some space and resume the job.",
            f"{home_folder} 所在磁盘只剩 {free_disk_mb} MB，至少需要 {options.min_free_disk_mb} MB，请清理后继续任务。",
        )
    if free_memory_mb < options.min_free_memory_mb:
        return Message(
            f"Only {free_memory_mb} MB of memory are free, {options.min_free_memory_mb} MB are needed; "
            "end other programs and resume the job.",
            f"内存只剩 {free_memory_mb} MB，至少需要 {options.min_free_memory_mb} MB，请关闭其他程序后继续任务。",
        )
    return None


def is_disk_full(home_folder: Path) -> bool:
    """Whether not even a few last words can be written."""
    return shutil.disk_usage(home_folder).free < 4 * MEGABYTE


def refuse_if_blocked(home_folder: Path, options: JobOptions) -> None:
    """Raise UserError where `obstacle` finds one."""
    obstacle_message = find_obstacle(home_folder, options)
    if obstacle_message is not None:
        raise UserError(obstacle_message.en, obstacle_message.zh)
