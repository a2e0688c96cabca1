"""Folders that several processes share: written whole or not at all, and by one process at a time."""

import errno
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

LOCK_POLL_S = 0.2
# Some cluster file systems are mounted without locks: work is then done more than once, and still whole.
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP}


@contextmanager
def build_folder(target_folder: Path) -> Iterator[Path]:
    """A fresh folder to fill; when the block ends it takes the place of `target_folder`. Raises OSError.

    So that one is whole or as it was, whatever ends the process. What a killed one leaves is removed by
    `remove_drafts`.
    """
    target_folder.parent.mkdir(parents=True, exist_ok=True)
    draft_folder = Path(tempfile.mkdtemp(".part", f".{target_folder.name}.", target_folder.parent))
    try:
        yield draft_folder
        put_in_place(draft_folder, target_folder)
    finally:
        shutil.rmtree(draft_folder, ignore_errors=True)


def put_in_place(draft_folder: Path, target_folder: Path) -> None:
    """Rename a finished folder, over an older one of that name. Raises OSError."""
    if target_folder.exists():
        shutil.rmtree(target_folder)
    draft_folder.rename(target_folder)


def remove_drafts(target_folder: Path) -> None:
    """Remove what killed processes have left of `target_folder`. Call it while nobody else builds it."""
    for draft_folder in target_folder.parent.glob(f".{target_folder.name}.*.part"):
        shutil.rmtree(draft_folder, ignore_errors=True)


def hold_lock(lock_path: Path, *, shared: bool = False, while_waiting: Callable[[], None] | None = None) -> BinaryIO:
    """A lock on a file, held until what is returned is closed or the process ends, however it does.

    Many hold it `shared`, or one alone. `while_waiting` is called several times a second, and may raise.
    """
    lock_path.parent.mkdir(parents=True, exist_ok=True)
    while (held_file := try_lock(lock_path, shared=shared)) is None:
        if while_waiting is not None:
            while_waiting()
        time.sleep(LOCK_POLL_S)
    return held_file


def try_lock(lock_path: Path, *, shared: bool = False) -> BinaryIO | None:
    """The same without waiting; None where another process is in the way."""
    lock_file = lock_path.open("ab")
    try:
        fcntl.flock(lock_file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            lock_file.close()
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                return None
            raise
    # Between opening and locking somebody may have removed the file; a lock on that one keeps nobody out.
    with suppress(FileNotFoundError):
        if os.path.samestat(os.fstat(lock_file.fileno()), lock_path.stat()):
            return lock_file
    lock_file.close()
    return None
