"""Files: private to their owner, written whole, read within bounds; faults of the disk said as sentences."""

import errno
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from backend.errors import Unavailable, UserError

_FULL = {errno.ENOSPC, errno.EDQUOT}
_REFUSED = {
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


def keep_private() -> None:
    """Let whatever this process and its children create be their owner's alone. Call it in a main, first."""
    os.umask(0o077)


def make_home(home: Path) -> None:
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


def narrow(path: Path) -> None:
    """Take a file's rights from everybody but its owner, where the file system knows rights."""
    with suppress(OSError):
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)


def write_whole(path: Path, text: str, encoding: str = "utf-8") -> None:
    """Write a text file that appears complete or not at all. Raises OSError."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        draft.write_text(text, encoding)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def disk_fault(error: OSError) -> Unavailable | None:
    """The sentence for a disk that is full, read-only or refuses; None for any other error."""
    place = f" ({error.filename})" if error.filename else ""
    place_zh = f"（{error.filename}）" if error.filename else ""
    if error.errno in _FULL:
        return Unavailable(
            f"The disk is full{place}; the file was not saved. Free some space and try again.",
            f"磁盘已满{place_zh}，文件没有保存；请清理出空间后重试。",
        )
    if error.errno in _REFUSED:
        return Unavailable(
            f"A file cannot be read or written{place}: {error.strerror}. Mend its rights or the disk and try "
            "again.",
            f"无法读写文件{place_zh}：{error.strerror}。请修正权限或检查磁盘后重试。",
        )
    return None


def read_text_file(path: Path, limit: int) -> str:
    """The UTF-8 text of a regular file of at most `limit` bytes. Raises UserError for anything else."""
    try:
        if path.exists() and not path.is_file():
            raise UserError(
                f"{path} is no regular file; name a text file.", f"{path} 不是普通文件，请指定一个文本文件。"
            )
        with path.open("rb") as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise UserError(
                f"{path} has more than {limit:,} bytes, too many for this; shorten it.",
                f"{path} 超过 {limit:,} 字节，请缩短。",
            )
        return data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path} cannot be read as UTF-8 text ({error}).", f"无法把 {path} 读作 UTF-8 文本（{error}）。"
        ) from error
