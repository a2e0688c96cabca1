"""Errors that a person can mend, as one sentence: a full disk, too little memory."""

import errno
import shutil
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from backend.core.errors import UserError

FULL_DISK_BYTES = 5_000_000
# What safetensors, tokenizers and torch.save (its last three) say where a file cannot be written to its end.
FULL_DISK_SIGNS = (
    "No space left on device",
    "Disk quota exceeded",
    "unexpected pos",
    "basic_ios::clear: iostream error",
    "PytorchStreamWriter failed writing",
)


@contextmanager
def explaining_errors(
    output_folder: Path, note_error: Callable[[Path, UserError], None] = lambda _folder, _error: None
) -> Iterator[None]:
    """What fails inside for a foreseen reason is raised as UserError, after `note_error` was given it."""
    try:
        yield
    except Exception as error:
        user_error = explain_error(error, output_folder)
        if user_error is not None:
            note_error(output_folder, user_error)
        if user_error is None or user_error is error:
            raise
        # Into the log as well, for whoever has to mend it; the row holds the sentence alone.
        traceback.print_exception(error)
        raise user_error from error


def explain_error(error: Exception, output_folder: Path) -> UserError | None:
    """One sentence for what a person can mend; None for a bug, whose traceback is the better answer."""
    if isinstance(error, UserError):
        return error
    if _is_disk_full(error, output_folder):
        return UserError(
            f"The disk of {output_folder} is full; free some space and resume.",
            f"{output_folder} 所在磁盘已满，请清理后继续。",
        )
    if isinstance(error, torch.OutOfMemoryError):
        return UserError(
            "The GPU's memory was not enough; use a smaller batch_size or max_length, LoRA, or "
            "gradient_checkpointing, and resume.",
            "显存不足，请减小 batch_size 或 max_length，或使用 LoRA、gradient_checkpointing 后继续。",
        )
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        return UserError(
            "The machine's memory was not enough; use a smaller batch_size, max_length or base, and resume.",
            "内存不足，请减小 batch_size、max_length 或换小一些的 base 后继续。",
        )
    return None


def _is_disk_full(error: Exception, output_folder: Path) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    # torch, safetensors and tokenizers report a full disk as errors of their own; they lose the number.
    return any(sign in str(error) for sign in FULL_DISK_SIGNS) or (
        output_folder.exists() and shutil.disk_usage(output_folder).free < FULL_DISK_BYTES
    )
