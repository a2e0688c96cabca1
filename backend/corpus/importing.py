"""One file into the database: look, parse and check everything, then store all of it or nothing.

Checked rows wait in a temporary file, so that the database's write lock is held only while inserting, a
file that turns out bad at its last line has touched nothing, and memory stays flat however long the file.
A few rows are stored in one transaction, many in short ones that nobody sees before the last (`unpublished`).
"""

import itertools
import pickle
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from backend.corpus import store
from backend.corpus.detect import empty
from backend.corpus.facts import Target
from backend.corpus.reader_process import opened, unreadable
from backend.corpus.readers import Item
from backend.corpus.rows import Rejected, Row
from backend.corpus.shapes import Shape, shape_for
from backend.corpus.unpublished import PATIENCE_S, Unpublished, begun, remove_left_over, take_turn
from backend.db.engine import Database
from backend.errors import Message, UserError
from backend.records import FilePreview, ImportReport, RowError
from backend.text import clean, has_control

MAX_ERRORS = 1_000
_SAMPLE = 50
_SHOWN = 5
_SHOWN_CHARACTERS = 2_000
_SHEETS = ("csv", "xlsx")
_POLL_S = 0.2
_PARSING = 0.5  # share of the work that is over when everything is checked

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Wish:
    """What the importer was asked for."""

    path: Path
    dataset: str | None = None
    kind: str | None = None
    skip_bad: bool = False
    mapping: dict[str, str] = field(default_factory=dict)


class ImportRefused(UserError):
    """Nothing of the file was stored; the report says why, row by row."""

    def __init__(self, message: Message, report: ImportReport) -> None:
        super().__init__(message.en, message.zh)
        self.report = report


@dataclass
class Tally:
    """Counts of a running import."""

    wish: Wish
    dataset: str
    kind: str | None = None
    read: int = 0
    added: int = 0
    duplicate: int = 0
    rejected: int = 0
    bad: int = 0
    first_bad: RowError | None = None
    errors: list[RowError] = field(default_factory=list)

    def reject(self, line: int, reason: Message, *, harmless: bool = False) -> None:
        """Count a row that is left out."""
        error = RowError(line, reason)
        self.rejected += 1
        if len(self.errors) < MAX_ERRORS:
            self.errors.append(error)
        if not harmless:
            self.bad += 1
            self.first_bad = self.first_bad or error

    def report(self) -> ImportReport:
        """The counts so far."""
        return ImportReport(
            path=str(self.wish.path),
            kind=self.kind,
            dataset=self.dataset,
            read=self.read,
            added=self.added,
            duplicate=self.duplicate,
            rejected=self.rejected,
            errors=tuple(self.errors),
        )

    def refuse(self, message: Message) -> ImportRefused:
        """The refusal of the whole file: nothing was added, whatever was counted so far."""
        self.added = self.duplicate = 0
        return ImportRefused(message, self.report())


def import_file(database: Database, wish: Wish, progress: Progress | None = None) -> ImportReport:
    """See CorpusService.import_file."""
    say = progress or _silent
    tally = Tally(wish, dataset="")
    with _refusing(tally), tempfile.TemporaryFile(prefix="zhufu-import-") as spool:
        tally.dataset = dataset_name(wish)
        shape = _check(tally, spool, say)
        _judge(tally)
        spool.seek(0)
        store_all = _store_small if tally.read - tally.rejected <= store.CHUNK else _store_large
        store_all(database, tally, shape, _spooled(spool), say)
    say(1.0, f"{wish.path.name}: {tally.added:,} rows added")
    return tally.report()


def _silent(_share: float, _text: str) -> None:
    """Nobody listens."""


@contextmanager
def _refusing(tally: Tally) -> Iterator[None]:
    """Whatever goes wrong with the file becomes a refusal with a report."""
    path = tally.wish.path
    try:
        yield
    except ImportRefused:
        raise
    except UserError as error:
        tally.errors.insert(0, RowError(None, error.message))
        raise tally.refuse(error.message) from error
    except OSError as error:
        told = unreadable(path, error.strerror or str(error)).message
        tally.errors.insert(0, RowError(None, told))
        raise tally.refuse(told) from error


def dataset_name(wish: Wish) -> str:
    """The wished name, else the file's stem made neat. Raises UserError for an unusable one."""
    if wish.dataset is None or not wish.dataset.strip():
        return re.sub(r"[\s\x00-\x1f]+", "_", clean(wish.path.stem))[:120] or "import"
    name = clean(wish.dataset)
    if len(name) > 120 or has_control(name) or "\n" in name:
        raise UserError(
            "The name of a data set has at most 120 printable characters on one line.",
            "数据集名称最多 120 个可见字符，且不能换行。",
        )
    return name


def _check(tally: Tally, spool: IO[bytes], say: Progress) -> Shape:
    wish = tally.wish
    name, table = wish.path.name, bool(wish.mapping) or wish.kind == "table"
    with opened(wish.path, table=table, prompts=wish.kind == "prompts") as file:
        items = file.rows(lambda share: say(share * _PARSING, f"{name}: checking"))
        head = list(itertools.islice(items, _SAMPLE))
        if not head:
            raise empty(wish.path)
        sample = [value for _, value in head if not isinstance(value, Message)]
        if not sample:
            _count_unreadable(tally, itertools.chain(head, items))
            raise _nothing_usable(tally)
        sheet = file.form.container in _SHEETS
        shape = shape_for(name, sample, wish.kind, wish.mapping, sheet=sheet)
        tally.kind = shape.kind
        for chunk in _chunks(_good(tally, shape, itertools.chain(head, items))):
            pickle.dump(chunk, spool, pickle.HIGHEST_PROTOCOL)
    return shape


def _count_unreadable(tally: Tally, items: Iterable[Item]) -> None:
    for line, value in items:
        tally.read += 1
        tally.reject(line, value if isinstance(value, Message) else Message("unreadable", "无法读取"))


def _good(tally: Tally, shape: Shape, items: Iterable[Item]) -> Iterator[Row]:
    for line, value in items:
        tally.read += 1
        if isinstance(value, Message):
            tally.reject(line, value)
            continue
        try:
            row = shape.row(line, value)
        except Rejected as rejected:
            tally.reject(line, rejected.message, harmless=rejected.harmless)
        else:
            yield row


def _chunks(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while chunk := list(itertools.islice(rows, store.CHUNK)):
        yield chunk


def _spooled(spool: IO[bytes]) -> Iterator[list[Row]]:
    # Only this process wrote the file, and it has no name: unpickling it is safe.
    while True:
        try:
            yield pickle.load(spool)
        except EOFError:
            return


def _store_small(
    database: Database, tally: Tally, shape: Shape, chunks: Iterator[list[Row]], say: Progress
) -> None:
    """One chunk, in one transaction."""
    remove_left_over(database)
    rows, end = next(chunks, []), time.monotonic() + PATIENCE_S
    while True:
        try:
            with database.write() as session:
                take_turn(session)
                labelled = any(row.labels for row in rows)
                target = store.target(session, tally.dataset, shape.kind, shape.source, labelled=labelled)
                _count(tally, store.store(session, target, rows))
                _judge(tally)
                return
        except store.ImportUnderWay:
            if time.monotonic() > end:
                raise
        say(_PARSING, _waiting(tally))
        time.sleep(_POLL_S)


def _store_large(
    database: Database, tally: Tally, shape: Shape, chunks: Iterator[list[Row]], say: Progress
) -> None:
    """Chunk after chunk in short transactions, which nobody sees before the last one is in."""
    target: Target | None = None
    good, done = tally.read - tally.rejected, 0
    with begun(database, tally.dataset, lambda: say(_PARSING, _waiting(tally))) as running:
        for rows in chunks:
            if target is None or target.rater is None:
                target = _target(running, tally.dataset, shape, rows)
            _count(tally, store.store_unpublished(database, running.writing, target, rows))
            done += len(rows)
            say(_PARSING + (1 - _PARSING) * done / good, f"{tally.wish.path.name}: storing")
        _judge(tally)
        running.publish()


def _target(running: Unpublished, dataset: str, shape: Shape, rows: list[Row]) -> Target:
    labelled = any(row.labels for row in rows)
    with running.writing() as session:
        return store.target(
            session, dataset, shape.kind, shape.source, labelled=labelled, import_id=running.id
        )


def _count(tally: Tally, outcome: store.Outcome) -> None:
    tally.added += outcome.added
    tally.duplicate += outcome.duplicate
    for line, reason in outcome.denied:
        tally.reject(line, reason)


def _waiting(tally: Tally) -> str:
    return f"{tally.wish.path.name}: waiting for another import to end"


def _judge(tally: Tally) -> None:
    """Raise the refusal if the file must not be stored."""
    if tally.bad and not tally.wish.skip_bad:
        raise tally.refuse(_why(tally, tally.bad))
    if tally.rejected == tally.read:
        raise _nothing_usable(tally)


def _nothing_usable(tally: Tally) -> ImportRefused:
    if not tally.wish.skip_bad and tally.bad:
        return tally.refuse(_why(tally, tally.bad))
    first, name = tally.errors[0], tally.wish.path.name
    return tally.refuse(
        Message(
            f"{name}: none of its {tally.read:,} rows can be used; line {first.line}: {first.reason.en}.",
            f"{name}：{tally.read:,} 行数据都不可用；第 {first.line} 行：{first.reason.zh}。",
        )
    )


def _why(tally: Tally, bad: int) -> Message:
    first, name = tally.first_bad, tally.wish.path.name
    assert first is not None
    more_en = f" (and {bad - 1:,} more bad rows)" if bad > 1 else ""
    more_zh = f"（另有 {bad - 1:,} 行有问题）" if bad > 1 else ""
    return Message(
        f"{name}, line {first.line}: {first.reason.en}{more_en}; nothing was stored. "
        "Correct the file, or skip bad rows (--skip-bad).",
        f"{name} 第 {first.line} 行：{first.reason.zh}{more_zh}，没有存入任何内容。"
        "请改正文件，或选择“跳过有问题的行”。",
    )


def read_prompts(path: Path) -> Iterator[tuple[int, str | Message]]:
    """The requests of a file in any format that can be imported, row by row, and why a row holds none.

    Nothing is stored. Raises UserError where the file cannot be read or nobody can tell what it is.
    """
    with opened(path) as file:
        items = file.rows()
        head = list(itertools.islice(items, _SAMPLE))
        sample = [value for _, value in head if not isinstance(value, Message)]
        if not sample:
            raise empty(path)
        shape = shape_for(path.name, sample, None, {}, sheet=file.form.container in _SHEETS)
        for line, value in itertools.chain(head, items):
            yield line, _prompt(shape, line, value)


def _prompt(shape: Shape, line: int, value: Any) -> str | Message:
    if isinstance(value, Message):
        return value
    try:
        return shape.row(line, value).prompt
    except Rejected as rejected:
        return rejected.message


def preview(path: Path, kind: str | None = None) -> FilePreview:
    """See CorpusService.preview."""
    table, prompts = kind == "table", kind == "prompts"
    with opened(path, table=table, prompts=prompts, rows=_SHOWN, cut=_SHOWN_CHARACTERS) as file:
        form = file.form
        head = [value for _, value in file.rows() if not isinstance(value, Message)]
    rows = [value if isinstance(value, dict) else {"prompt": value} for value in head]
    columns = dict.fromkeys(str(key) for row in rows for key in row)
    return FilePreview(
        _likely_kind(path, head, kind, sheet=form.container in _SHEETS),
        tuple(columns),
        tuple(rows),
        form.encoding,
    )


def _likely_kind(path: Path, head: list[Any], kind: str | None, *, sheet: bool) -> str | None:
    try:
        return shape_for(path.name, head, kind, {}, sheet=sheet).kind
    except UserError:
        return None
