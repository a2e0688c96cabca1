"""The committed home: packed by its maker, unpacked to be looked at."""

import lzma
import os
import shutil
import sqlite3
import tarfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

ARCHIVE = Path(__file__).parent / "home.tar.xz"
PLACE = "/golden/home"
"""Where the home says that it lies; nobody has such a folder."""
DATABASE = "zhufu.db"


def pack(home: Path) -> None:
    """Write the archive, with nothing in it of the moment and of the user who packs."""
    _shrunk(home / DATABASE)
    with (
        lzma.open(ARCHIVE, "wb", preset=9 | lzma.PRESET_EXTREME) as out,
        tarfile.open(fileobj=out, mode="w") as tar,
    ):
        for path in sorted(home.rglob("*")):
            tar.add(path, path.relative_to(home).as_posix(), recursive=False, filter=_anonymous)


def unpack(home: Path) -> None:
    """The home at this place, which its rows then name."""
    home.mkdir(parents=True)
    with tarfile.open(ARCHIVE, "r:xz") as tar:
        tar.extractall(home, filter="data")
    moved(home / DATABASE, PLACE, str(home))


def moved(database: Path, old: str, new: str) -> None:
    """Rewrite a path wherever a text column of the database holds it."""
    with closing(sqlite3.connect(database)) as opened, opened:
        for table, column in list(_text_columns(opened)):
            opened.execute(
                f'UPDATE "{table}" SET "{column}" = replace("{column}", ?, ?) '
                f"""WHERE typeof("{column}") = 'text' AND instr("{column}", ?)""",
                (old, new, old),
            )


def _text_columns(opened: sqlite3.Connection) -> Iterator[tuple[str, str]]:
    tables = opened.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
    for (table,) in tables.fetchall():
        for column in opened.execute(f'PRAGMA table_info("{table}")').fetchall():
            if any(word in column[2].upper() for word in ("CHAR", "TEXT", "JSON")):
                yield table, column[1]


def _shrunk(database: Path) -> None:
    """One file without free pages and without a journal beside it."""
    with closing(sqlite3.connect(database)) as opened:
        opened.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        opened.execute("PRAGMA journal_mode = DELETE")
        opened.execute("VACUUM")
    for rest in database.parent.glob(f"{database.name}-*"):
        rest.unlink()


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    entry.mode = 0o700 if entry.isdir() else 0o600
    return entry


def copied(home: Path, to: Path) -> Path:
    """A second home with the same content; files that its rows name are those of the first."""
    return Path(shutil.copytree(home, to))


def as_set(patch: pytest.MonkeyPatch, home: Path) -> None:
    """Settings are the defaults and this home, whatever the environment says."""
    for name in [name for name in os.environ if name.startswith("ZHUFU_")]:
        patch.delenv(name)
    patch.setenv("ZHUFU_HOME", str(home))
