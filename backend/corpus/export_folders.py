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

EXPORTS_FOLDER = "exports"
RETENTION_S = 24 * 3600.0
"""Whoever wanted the file has it by then."""


def new_export_path(home_folder: Path, file_name: str) -> Path:
    """Where to write a file called `name`: in a new folder below HOME/exports. Old ones are removed.

    Raises UserError where no folder can be made.
    """
    exports_folder = home_folder / EXPORTS_FOLDER
    private_folder = exports_folder / secrets.token_hex(16)
    try:
        exports_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with suppress(OSError):  # somebody else's folder stays as it is
            exports_folder.chmod(0o700)
        _remove_outdated(exports_folder)
        private_folder.mkdir(mode=0o700)
    except OSError as error:
        raise UserError(
            f"{exports_folder} cannot be written ({error.strerror}).",
            f"无法写入 {exports_folder}（{error.strerror}）。",
        ) from error
    return private_folder / file_name


def _remove_outdated(exports_folder: Path) -> None:
    for outdated_path in list(exports_folder.iterdir()):
        with suppress(OSError):  # another export may be removing the same one
            if time.time() - outdated_path.lstat().st_mtime < RETENTION_S:
                continue
            if outdated_path.is_dir() and not outdated_path.is_symlink():
                shutil.rmtree(outdated_path, ignore_errors=True)
            else:
                outdated_path.unlink()


def create_exclusively(new_file: Path) -> None:
    """Make an empty file that was not there, readable by others only where its folder is."""
    is_private = new_file.parent.stat().st_mode & 0o077 == 0
    os.close(os.open(new_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if is_private else 0o666))
