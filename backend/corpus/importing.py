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

from backend.core.errors import Message, UserError
from backend.core.text import has_control_characters, normalize_text
from backend.corpus import store
from backend.corpus.detect import empty_file_error
from backend.corpus.facts import ImportTarget
from backend.corpus.reader import open_foreign_file, unreadable_error
from backend.corpus.readers import NumberedRow
from backend.corpus.records import FilePreview, ImportReport, RowError
from backend.corpus.rows import ImportRow, Rejected
from backend.corpus.shapes import RowShape, choose_shape
from backend.corpus.unpublished import (
    PATIENCE_S,
    POLL_S,
    UnpublishedImport,
    begin_import,
    lock_import_start,
    remove_abandoned,
)
from backend.db.base import in_batches
from backend.db.engine import Database

# A file of five million bad rows would else be five million sentences in memory; all of them are counted.
MAX_ERRORS = 1_000
_SAMPLE_ROWS = 50
_PREVIEW_ROWS = 5
# A preview goes to the browser, where one cell may otherwise be megabytes.
_PREVIEW_CHARACTERS = 2_000
_SHEET_FORMATS = ("csv", "xlsx")
_PARSING_SHARE = 0.5  # share of the work that is over when everything is checked

ProgressCallback = Callable[[float, str], None]


@dataclass(frozen=True)
class ImportRequest:
    """One file to import: `kind` is one of ROW_KINDS (None: guessed), `dataset` None takes the file's name.

    `mapping` is our field -> their column; `skip_bad` stores the good rows of a file that has bad ones.
    """

    path: Path
    dataset: str | None = None
    kind: str | None = None
    skip_bad: bool = False
    mapping: dict[str, str] = field(default_factory=dict)


class ImportRefused(UserError):
    """Nothing of the file was stored; the report says why, row by row."""

    def __init__(self, refusal_message: Message, import_report: ImportReport) -> None:
        super().__init__(refusal_message.en, refusal_message.zh)
        self.report = import_report


@dataclass
class ImportTally:
    """Counts of a running import."""

    request: ImportRequest
    dataset: str
    kind: str | None = None
    read: int = 0
    added: int = 0
    duplicate: int = 0
    rejected: int = 0
    bad: int = 0
    first_bad: RowError | None = None
    errors: list[RowError] = field(default_factory=list)

    def reject(self, line_number: int, refusal_reason: Message, *, is_harmless: bool = False) -> None:
        """Count a row that is left out."""
        row_error = RowError(line_number, refusal_reason)
        self.rejected += 1
        if len(self.errors) < MAX_ERRORS:
            self.errors.append(row_error)
        if not is_harmless:
            self.bad += 1
            self.first_bad = self.first_bad or row_error

    def report(self) -> ImportReport:
        """The counts so far."""
        return ImportReport(
            path=str(self.request.path),
            kind=self.kind,
            dataset=self.dataset,
            read=self.read,
            added=self.added,
            duplicate=self.duplicate,
            rejected=self.rejected,
            errors=tuple(self.errors),
        )

    def refuse(self, refusal_message: Message) -> ImportRefused:
        """The refusal of the whole file: nothing was added, whatever was counted so far."""
        self.added = self.duplicate = 0
        return ImportRefused(refusal_message, self.report())


def import_file(database: Database, request: ImportRequest, progress: ProgressCallback | None = None) -> ImportReport:
    """See CorpusService.import_file."""
    report_progress = progress or _ignore_progress
    tally = ImportTally(request, dataset="")
    with _refuse_on_error(tally), tempfile.TemporaryFile(prefix="zhufu-import-") as spool:
        tally.dataset = resolve_dataset_name(request)
        row_shape = _check_rows(tally, spool, report_progress)
        _refuse_if_unusable(tally)
        # Only now is the database touched: the last line may have refused the file.
        spool.seek(0)
        store_all = _store_small if tally.read - tally.rejected <= store.CHUNK_ROWS else _store_large
        store_all(database, tally, row_shape, _read_spool(spool), report_progress)
    report_progress(1.0, f"{request.path.name}: {tally.added:,} rows added")
    return tally.report()


def _ignore_progress(_share: float, _text: str) -> None:
    """Stand in where the caller wants no progress."""


@contextmanager
def _refuse_on_error(tally: ImportTally) -> Iterator[None]:
    """Whatever goes wrong with the file becomes a refusal with a report."""
    path = tally.request.path
    try:
        yield
    except ImportRefused:
        raise
    except UserError as error:
        tally.errors.insert(0, RowError(None, error.message))
        raise tally.refuse(error.message) from error
    except OSError as error:
        fault_message = unreadable_error(path, error.strerror or str(error)).message
        tally.errors.insert(0, RowError(None, fault_message))
        raise tally.refuse(fault_message) from error


def resolve_dataset_name(request: ImportRequest) -> str:
    """The wished name, else the file's stem made neat. Raises UserError for an unusable one."""
    if request.dataset is None or not request.dataset.strip():
        return re.sub(r"[\s\x00-\x1f]+", "_", normalize_text(request.path.stem))[:120] or "import"
    chosen_name = normalize_text(request.dataset)
    if len(chosen_name) > 120 or has_control_characters(chosen_name) or "\n" in chosen_name:
        raise UserError(
            "The name of a data set has at most 120 printable characters on one line.",
            "数据集名称最多 120 个可见字符，且不能换行。",
        )
    return chosen_name


def _check_rows(tally: ImportTally, spool: IO[bytes], report_progress: ProgressCallback) -> RowShape:
    request = tally.request
    file_name, is_table = request.path.name, bool(request.mapping) or request.kind == "table"
    with open_foreign_file(request.path, table=is_table, prompts=request.kind == "prompts") as foreign_file:
        numbered_rows = foreign_file.rows(
            lambda share: report_progress(share * _PARSING_SHARE, f"{file_name}: checking")
        )
        head_rows = list(itertools.islice(numbered_rows, _SAMPLE_ROWS))
        if not head_rows:
            raise empty_file_error(request.path)
        sample_values = [row_value for _, row_value in head_rows if not isinstance(row_value, Message)]
        if not sample_values:
            # To the end, so that the report has every row and its reason.
            _count_unreadable(tally, itertools.chain(head_rows, numbered_rows))
            raise _nothing_usable(tally)
        is_sheet = foreign_file.file_format.container in _SHEET_FORMATS
        row_shape = choose_shape(file_name, sample_values, request.kind, request.mapping, is_sheet=is_sheet)
        tally.kind = row_shape.kind
        usable_rows = _usable_rows(tally, row_shape, itertools.chain(head_rows, numbered_rows))
        # As they will be stored: reading the spool back then needs no second batching, and a chunk's memory
        # only.
        for chunk in in_batches(usable_rows, store.CHUNK_ROWS):
            pickle.dump(chunk, spool, pickle.HIGHEST_PROTOCOL)
    return row_shape


def _count_unreadable(tally: ImportTally, numbered_rows: Iterable[NumberedRow]) -> None:
    for line_number, row_value in numbered_rows:
        tally.read += 1
        tally.reject(line_number, row_value if isinstance(row_value, Message) else Message("unreadable", "无法读取"))


def _usable_rows(tally: ImportTally, row_shape: RowShape, numbered_rows: Iterable[NumberedRow]) -> Iterator[ImportRow]:
    for line_number, row_value in numbered_rows:
        tally.read += 1
        if isinstance(row_value, Message):
            tally.reject(line_number, row_value)
            continue
        try:
            row = row_shape.row(line_number, row_value)
        except Rejected as rejected:
            tally.reject(line_number, rejected.message, is_harmless=rejected.harmless)
        else:
            yield row


def _read_spool(spool: IO[bytes]) -> Iterator[list[ImportRow]]:
    # Only this process wrote the file, and it has no name: unpickling it is safe.
    while True:
        try:
            yield pickle.load(spool)
        except EOFError:
            return


def _store_small(
    database: Database,
    tally: ImportTally,
    row_shape: RowShape,
    chunks: Iterator[list[ImportRow]],
    report_progress: ProgressCallback,
) -> None:
    """One chunk, in one transaction."""
    # A dead import into this data set would else make this one wait for it in vain.
    remove_abandoned(database)
    rows, waiting_end = next(chunks, []), time.monotonic() + PATIENCE_S
    while True:
        try:
            with database.write() as session:
                lock_import_start(session)
                has_labels = any(row.labels for row in rows)
                target = store.prepare_target(
                    session, tally.dataset, row_shape.kind, row_shape.source, labelled=has_labels
                )
                # A refusal is raised within the transaction, which takes back the other rows of the chunk.
                _count_outcome(tally, store.store_chunk(session, target, rows))
                _refuse_if_unusable(tally)
                return
        except store.ImportUnderWay:
            if time.monotonic() > waiting_end:
                raise
        report_progress(_PARSING_SHARE, _waiting_message(tally))
        time.sleep(POLL_S)


def _store_large(
    database: Database,
    tally: ImportTally,
    row_shape: RowShape,
    chunks: Iterator[list[ImportRow]],
    report_progress: ProgressCallback,
) -> None:
    """Chunk after chunk in short transactions, which nobody sees before the last one is in."""
    target: ImportTarget | None = None
    good_count, stored_count = tally.read - tally.rejected, 0
    with begin_import(
        database, tally.dataset, lambda: report_progress(_PARSING_SHARE, _waiting_message(tally))
    ) as running:
        for rows in chunks:
            # A data set gets a rater with its first labelled row, which may be far down in the file.
            if target is None or target.rater_id is None:
                target = _import_target(running, tally.dataset, row_shape, rows)
            _count_outcome(tally, store.store_unpublished(database, running.open_write, target, rows))
            stored_count += len(rows)
            report_progress(
                _PARSING_SHARE + (1 - _PARSING_SHARE) * stored_count / good_count,
                f"{tally.request.path.name}: storing",
            )
        _refuse_if_unusable(tally)
        running.publish()


def _import_target(
    running: UnpublishedImport, dataset_name: str, row_shape: RowShape, rows: list[ImportRow]
) -> ImportTarget:
    has_labels = any(row.labels for row in rows)
    with running.open_write() as session:
        return store.prepare_target(
            session,
            dataset_name,
            row_shape.kind,
            row_shape.source,
            labelled=has_labels,
            import_id=running.import_id,
        )


def _count_outcome(tally: ImportTally, outcome: store.ChunkOutcome) -> None:
    tally.added += outcome.added
    tally.duplicate += outcome.duplicate
    for line_number, denial_reason in outcome.denied:
        tally.reject(line_number, denial_reason)


def _waiting_message(tally: ImportTally) -> str:
    return f"{tally.request.path.name}: waiting for another import to end"


def _refuse_if_unusable(tally: ImportTally) -> None:
    """Raise the refusal if the file must not be stored."""
    if tally.bad and not tally.request.skip_bad:
        raise tally.refuse(_refusal_message(tally, tally.bad))
    if tally.rejected == tally.read:
        raise _nothing_usable(tally)


def _nothing_usable(tally: ImportTally) -> ImportRefused:
    if not tally.request.skip_bad and tally.bad:
        return tally.refuse(_refusal_message(tally, tally.bad))
    first, name = tally.errors[0], tally.request.path.name
    return tally.refuse(
        Message(
            f"{name}: none of its {tally.read:,} rows can be used; line {first.line}: {first.reason.en}.",
            f"{name}：{tally.read:,} 行数据都不可用；第 {first.line} 行：{first.reason.zh}。",
        )
    )


def _refusal_message(tally: ImportTally, bad: int) -> Message:
    first, name = tally.first_bad, tally.request.path.name
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
    with open_foreign_file(path) as foreign_file:
        numbered_rows = foreign_file.rows()
        head_rows = list(itertools.islice(numbered_rows, _SAMPLE_ROWS))
        sample_values = [row_value for _, row_value in head_rows if not isinstance(row_value, Message)]
        if not sample_values:
            raise empty_file_error(path)
        row_shape = choose_shape(
            path.name, sample_values, None, {}, is_sheet=foreign_file.file_format.container in _SHEET_FORMATS
        )
        for line_number, row_value in itertools.chain(head_rows, numbered_rows):
            yield line_number, _prompt_or_reason(row_shape, line_number, row_value)


def _prompt_or_reason(row_shape: RowShape, line_number: int, row_value: Any) -> str | Message:
    if isinstance(row_value, Message):
        return row_value
    try:
        return row_shape.row(line_number, row_value).prompt
    except Rejected as rejected:
        return rejected.message


def preview_file(path: Path, wanted_kind: str | None = None) -> FilePreview:
    """See CorpusService.preview."""
    is_table, is_prompts = wanted_kind == "table", wanted_kind == "prompts"
    with open_foreign_file(
        path, table=is_table, prompts=is_prompts, row_limit=_PREVIEW_ROWS, text_limit=_PREVIEW_CHARACTERS
    ) as foreign_file:
        form = foreign_file.file_format
        head_values = [row_value for _, row_value in foreign_file.rows() if not isinstance(row_value, Message)]
    rows = [row_value if isinstance(row_value, dict) else {"prompt": row_value} for row_value in head_values]
    column_names = dict.fromkeys(str(column_key) for row in rows for column_key in row)
    return FilePreview(
        _likely_kind(path, head_values, wanted_kind, is_sheet=form.container in _SHEET_FORMATS),
        tuple(column_names),
        tuple(rows),
        form.encoding,
    )


def _likely_kind(path: Path, head_values: list[Any], wanted_kind: str | None, *, is_sheet: bool) -> str | None:
    try:
        return choose_shape(path.name, head_values, wanted_kind, {}, is_sheet=is_sheet).kind
    except UserError:
        return None
