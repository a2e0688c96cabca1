"""Pairs and labels out of the database, with splits that share neither a prompt nor a text."""

import fcntl
import os
import secrets
from array import array
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.corpus import collect
from backend.corpus.browse import dataset_id
from backend.corpus.collect import Dropped, Record, Scope
from backend.corpus.export_folders import create_exclusive
from backend.corpus.formats import SUFFIXES, Writer, writer
from backend.db.tables import Campaign
from backend.errors import NotFound, UserError
from backend.records import ExportReport
from backend.text import digest, squeeze
from backend.vocabulary import Split

_SOURCES = {"pairs": collect.pairs, "labels": collect.labels}
_RANK = {Split.TRAIN.value: 0, Split.VALIDATION.value: 1, Split.TEST.value: 2}


@dataclass(frozen=True)
class Wish:
    """What the exporter was asked for."""

    what: str
    fmt: str
    path: Path
    dataset: str | None = None
    campaign: str | None = None
    panel: bool = False


def export(session: Session, wish: Wish) -> ExportReport:
    """See CorpusService.export."""
    _check(wish)
    if session.get_bind().dialect.name == "postgresql":
        # Both passes below must see the same rows; SQLite's transaction does so by itself.
        session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
    scope = _scope(session, wish)
    highest = _shared_texts(_SOURCES[wish.what](session, scope, Counter()))
    dropped: Dropped = Counter(dict.fromkeys(("tie", "no_preference", "contradiction", "leak"), 0))
    if wish.what == "labels":
        del dropped["no_preference"]
    else:
        dropped["panel"] = collect.judged_pairs(session, scope)
    splits = dict.fromkeys(_RANK, 0)
    with _files(wish) as writer_of:
        for record in _SOURCES[wish.what](session, scope, dropped):
            if _leaks(record, highest):
                dropped["leak"] += 1
            else:
                writer_of(record["split"]).write(record)
                splits[record["split"]] += 1
        if not any(splits.values()):
            raise _nothing(wish)
    return ExportReport(str(wish.path), sum(splits.values()), splits, dict(dropped))


def _check(wish: Wish) -> None:
    for value, known, en, zh in (
        (wish.what, _SOURCES, "export", "导出内容"),
        (wish.fmt, SUFFIXES, "format", "格式"),
    ):
        if value not in known:
            raise UserError(
                f"There is no {en} {value!r}; there are {', '.join(known)}.",
                f"没有“{value}”这种{zh}，可用的有：{'、'.join(known)}。",
            )
    folder = wish.path.absolute().parent
    if not folder.is_dir():
        raise UserError(
            f"The folder {folder} does not exist; make it or write elsewhere.",
            f"文件夹 {folder} 不存在，请先创建，或换一个位置。",
        )
    if wish.path.exists() and not wish.path.is_file() and not wish.path.is_dir():
        raise UserError(
            f"{wish.path} is a device or a pipe; name a file or a folder.",
            f"{wish.path} 是设备或管道，请指定文件或文件夹。",
        )


def _scope(session: Session, wish: Wish) -> Scope:
    dataset = dataset_id(session, wish.dataset) if wish.dataset is not None else None
    campaign = None
    if wish.campaign is not None:
        campaign = session.scalar(select(Campaign.id).where(Campaign.name == wish.campaign))
        if campaign is None:
            raise NotFound(
                f"There is no campaign called {wish.campaign!r}.", f"没有名为“{wish.campaign}”的标注任务。"
            )
    return Scope(dataset, wish.dataset, campaign, wish.panel)


def _texts(record: Record) -> list[int]:
    """Short hashes of the record's greetings, blind to white space."""
    texts = (record[name] for name in ("chosen", "rejected", "response") if name in record)
    return [int(digest(squeeze(text))[:16], 16) for text in texts]


def _shared_texts(records: Iterator[Record]) -> dict[int, int]:
    """The texts that occur under prompts of several splits, with the highest of these."""
    import numpy as np

    # Nine bytes a text rather than a dictionary of all of them: a million rows stay under 20 MB.
    hashes, ranks = array("Q"), array("B")
    for record in records:
        for text in _texts(record):
            hashes.append(text)
            ranks.append(_RANK[record["split"]])
    if not hashes:
        return {}
    texts, places = np.unique(np.frombuffer(hashes, dtype=np.uint64), return_inverse=True)
    rank = np.frombuffer(ranks, dtype=np.uint8)
    lowest, highest = np.full(len(texts), 9, np.uint8), np.zeros(len(texts), np.uint8)
    np.minimum.at(lowest, places, rank)
    np.maximum.at(highest, places, rank)
    return {int(texts[at]): int(highest[at]) for at in np.flatnonzero(lowest < highest)}


def _leaks(record: Record, highest: dict[int, int]) -> bool:
    """Whether one of the texts also stands in a split that evaluates rather than trains more."""
    rank = _RANK[record["split"]]
    return any(highest.get(text, rank) > rank for text in _texts(record))


class _Files:
    """The files of one export: temporary until all are complete."""

    def __init__(self, wish: Wish) -> None:
        self._wish = wish
        self.by_split = wish.path.is_dir() or not wish.path.suffix
        self._open: dict[Path, tuple[Path, Writer]] = {}

    def target(self, split: str) -> Path:
        """The file that rows of the split go to."""
        return self._wish.path / (split + SUFFIXES[self._wish.fmt]) if self.by_split else self._wish.path

    def __call__(self, split: str) -> Writer:
        """The writer for rows of the split."""
        target = self.target(split)
        if target not in self._open:
            target.parent.mkdir(exist_ok=True)
            part = target.with_name(f".{target.name}.{secrets.token_hex(8)}.part")
            create_exclusive(part)
            self._open[target] = (part, writer(self._wish.fmt, part))
        return self._open[target][1]

    def finish(self) -> None:
        """Put the complete files in place; files of splits without rows would be stale, so they go."""
        for part, out in self._open.values():
            out.close()
            with part.open("rb") as file:
                os.fsync(file.fileno())
        with _alone_in(self._wish.path) if self.by_split else nullcontext():
            if self.by_split:
                for stale in {self.target(split) for split in _RANK} - set(self._open):
                    stale.unlink(missing_ok=True)
            for target, (part, _) in self._open.items():
                part.replace(target)
        self._open = {}

    def abandon(self) -> None:
        """Leave no trace of an export that failed."""
        for part, out in self._open.values():
            with suppress(OSError, ValueError):
                out.close()
            part.unlink(missing_ok=True)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """One export at a time puts its files into the folder, so that they are all of the same export."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems know no locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextmanager
def _files(wish: Wish) -> Iterator[_Files]:
    files = _Files(wish)
    try:
        yield files
        files.finish()
    except OSError as error:
        raise UserError(
            f"{wish.path} cannot be written ({error.strerror}).",
            f"无法写入 {wish.path}（{error.strerror}）。",
        ) from error
    finally:
        files.abandon()


def _nothing(wish: Wish) -> UserError:
    what = {"pairs": ("pairs", "偏好对"), "labels": ("labels", "标签")}[wish.what]
    return UserError(
        f"There are no {what[0]} to export here; annotate or import some first.",
        f"这里还没有可导出的{what[1]}，请先标注或导入。",
    )
