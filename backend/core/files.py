"""Files: private to their owner, written whole, read within bounds; faults of the disk said as sentences."""

import errno
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from backend.core.errors import Unavailable, UserError

_FULL_ERRORS = {errno.ENOSPC, errno.EDQUOT}
_REFUSED_ERRORS = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.EIO,
    errno.EFBIG,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.EMFILE,
    errno.ENFILE,
}


def restrict_new_files() -> None:
    """Let whatever this process and its children create be their owner's alone. Call it in a main, first."""
    os.umask(0o077)


def create_home_folder(home: Path) -> None:
    """Create the home folder, mode 0700, where there is none. Raises UserError where it cannot be written."""
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Rights alone do not tell: a file system may be mounted read-only.
        with tempfile.TemporaryFile(dir=home):
            pass
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(
            f"The home folder {home.absolute()} cannot be used ({reason}); free space or mend its rights, or "
            "set ZHUFU_HOME to a folder that can be written.",
            f"数据文件夹 {home.absolute()} 无法使用（{reason}）；请清理磁盘或修正权限，"
            "或用 ZHUFU_HOME 指定可写的位置。",
        ) from error


def restrict_to_owner(file_path: Path) -> None:
    """Take a file's rights from everybody but its owner, where the file system knows rights."""
    with suppress(OSError):
        if file_path.stat().st_mode & 0o077:
            file_path.chmod(0o600)


def write_atomically(file_path: Path, file_text: str, encoding: str = "utf-8") -> None:
    """Write a text file that appears complete or not at all. Raises OSError."""
    # In the same folder, for a file can be put in place at one stroke within one file system only.
    temporary_file = file_path.with_name(f".{file_path.name}.{os.getpid()}.part")
    try:
        temporary_file.write_text(file_text, encoding)
        temporary_file.replace(file_path)
    finally:
        temporary_file.unlink(missing_ok=True)


def translate_disk_fault(error: OSError) -> Unavailable | None:
    """The sentence for a disk that is full, read-only or refuses; None for any other error."""
    place = f" ({error.filename})" if error.filename else ""
    place_zh = f"（{error.filename}）" if error.filename else ""
    if error.errno in _FULL_ERRORS:
        return Unavailable(
            f"The disk is full{place}; the file was not saved. Free some space and try again.",
            f"磁盘已满{place_zh}，文件没有保存；请清理出空间后重试。",
        )
    if error.errno in _REFUSED_ERRORS:
        return Unavailable(
            f"A file cannot be read or written{place}: {error.strerror}. Mend its rights or the disk and try again.",
            f"无法读写文件{place_zh}：{error.strerror}。请修正权限或检查磁盘后重试。",
        )
    return None


def read_text_file(file_path: Path, byte_limit: int) -> str:
    """The UTF-8 text of a regular file of at most `byte_limit` bytes. Raises UserError for anything else."""
    try:
        if file_path.exists() and not file_path.is_file():
            raise UserError(
                f"{file_path} is no regular file; name a text file.",
                f"{file_path} 不是普通文件，请指定一个文本文件。",
            )
        with file_path.open("rb") as binary_file:
            file_bytes = binary_file.read(byte_limit + 1)
        if len(file_bytes) > byte_limit:
            raise UserError(
                f"{file_path} has more than {byte_limit:,} bytes, too many for this; shorten it.",
                f"{file_path} 超过 {byte_limit:,} 字节，请缩短。",
            )
        return file_bytes.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{file_path} cannot be read as UTF-8 text ({error}).",
            f"无法把 {file_path} 读作 UTF-8 文本（{error}）。",
        ) from error
