"""A folder of its own for each file that a page hands out: two exports never write into one another's file.

The name that a person downloads stays plain; the folder's cannot be guessed, and nobody else may read it.
"""

import os
import secrets
import shutil
import time
from contextlib import suppress
from pathlib import Path

from backend.errors import UserError

FOLDER = "exports"
KEPT_S = 24 * 3600.0
"""Whoever wanted the file has it by then."""


def export_path(home: Path, name: str) -> Path:
    """Where to write a file called `name`: in a new folder below HOME/exports. Old ones are removed.

    Raises UserError where no folder can be made.
    """
    exports = home / FOLDER
    folder = exports / secrets.token_hex(16)
    try:
        exports.mkdir(parents=True, exist_ok=True, mode=0o700)
        with suppress(OSError):  # somebody else's folder stays as it is
            exports.chmod(0o700)
        _remove_old(exports)
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise UserError(
            f"{exports} cannot be written ({error.strerror}).", f"无法写入 {exports}（{error.strerror}）。"
        ) from error
    return folder / name


def _remove_old(exports: Path) -> None:
    for old in list(exports.iterdir()):
        with suppress(OSError):  # another export may be removing the same one
            if time.time() - old.lstat().st_mtime < KEPT_S:
                continue
            if old.is_dir() and not old.is_symlink():
                shutil.rmtree(old, ignore_errors=True)
            else:
                old.unlink()


def create_exclusive(path: Path) -> None:
    """Make an empty file that was not there, readable by others only where its folder is."""
    private = path.parent.stat().st_mode & 0o077 == 0
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o666))
