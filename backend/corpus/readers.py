"""Readers: each yields (line, value) one by one, in memory bounded by the largest row it accepts.

`line` is the line a row starts on in text files, and the row's number in Parquet files and spreadsheets
(where the header is row 1). A row that cannot be read at all is yielded as a Message saying why.
"""

import csv
import io
import json
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from backend.corpus import limits
from backend.corpus.cells import unguard
from backend.corpus.detect import Form
from backend.corpus.json_array import array_items
from backend.corpus.reader_frames import plain
from backend.errors import Message, UserError

Item = tuple[int, Any]
Tick = Callable[[float], None]

MAX_LINE = 8_000_000  # a million characters may come as six million of JSON escapes
_TICK_EVERY = 500
# What openpyxl and zipfile raise on bytes that are not what they seem.
_DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, OSError, SyntaxError),
    *(LookupError, ValueError, TypeError, AttributeError, OverflowError),
)


def read(path: Path, form: Form, tick: Tick | None = None) -> Iterator[Item]:
    """The file's rows: dicts, or plain strings for prompts a line. `tick` hears the share read so far."""
    if form.container == "parquet":
        return _parquet(path, tick)
    if form.container == "xlsx":
        return _xlsx(path, tick)
    return _text(path, form, tick)


def _text(path: Path, form: Form, tick: Tick | None) -> Iterator[Item]:
    newline = "" if form.container == "csv" else None
    with path.open("rb") as raw, io.TextIOWrapper(raw, encoding=form.encoding, newline=newline) as stream:
        items = _items(path, form, stream)
        yield from _ticking(items, raw, path.stat().st_size, tick) if tick else items


def _items(path: Path, form: Form, stream: TextIO) -> Iterator[Item]:
    if form.container == "json":
        return array_items(path.name, stream)
    if form.container == "jsonl":
        return _json_lines(stream)
    if form.container == "csv":
        return _csv(path, stream, form.delimiter)
    return _plain_lines(stream)


def _ticking(items: Iterable[Item], raw: BinaryIO, size: int, tick: Tick) -> Iterator[Item]:
    for count, item in enumerate(items):
        if count % _TICK_EVERY == 0:
            tick(raw.tell() / size)
        yield item


def _lines(stream: TextIO) -> Iterator[tuple[int, str | None]]:
    """Numbered lines; None in place of one too long to hold."""
    number = 0
    while line := stream.readline(MAX_LINE):
        number += 1
        if len(line) < MAX_LINE or line.endswith("\n"):
            yield number, line
            continue
        while line and not line.endswith("\n"):
            line = stream.readline(MAX_LINE)
        yield number, None


_TOO_LONG = Message("the line is far too long", "这一行过长")


def _plain_lines(stream: TextIO) -> Iterator[Item]:
    for number, line in _lines(stream):
        if line is None:
            yield number, _TOO_LONG
        elif line.strip():
            yield number, line


def _json_lines(stream: TextIO) -> Iterator[Item]:
    for number, line in _lines(stream):
        if line is None:
            yield number, _TOO_LONG
        elif line.strip():
            yield number, _parsed(line)


def _parsed(line: str) -> Any:
    try:
        return json.loads(line, strict=False)
    except (ValueError, RecursionError) as error:
        why = error.msg if isinstance(error, json.JSONDecodeError) else "nested or long beyond reason"
        return Message(f"the line is not complete JSON ({why})", "这一行不是完整的 JSON")


def _csv(path: Path, stream: TextIO, delimiter: str) -> Iterator[Item]:
    csv.field_size_limit(MAX_LINE)
    reader = csv.reader(_short_lines(path, stream), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            if header is None or "field limit" in str(error):
                raise _broken_table(path, line) from error
            yield line, Message("the quotes do not match", "引号不配对")
            continue
        if cells is None:
            return
        if not any(cells):
            continue
        if header is None:
            header = _named(cells)
            _must_be_narrow(path, line, header)
        else:
            yield line, _record(header, [unguard(cell) for cell in cells])


def _broken_table(path: Path, line: int) -> UserError:
    return UserError(
        f"{path.name}, line {line}: this is no table, or a quote is never closed; correct the file.",
        f"{path.name} 第 {line} 行：不是表格，或者引号没有闭合，请改正文件。",
    )


def _short_lines(path: Path, stream: TextIO) -> Iterator[str]:
    for number, line in _lines(stream):
        if line is None:
            raise _broken_table(path, number)
        yield line


def _named(cells: list[Any]) -> list[str]:
    return [_cell(cell).strip() or f"column {place}" for place, cell in enumerate(cells, 1)]


def _must_be_narrow(path: Path, line: int, header: list[str]) -> None:
    if len(header) > limits.COLUMNS:
        raise limits.too_many_columns(path.name, line, len(header))


def _record(header: list[str], cells: list[Any]) -> dict[str, Any] | Message:
    while len(cells) > len(header) and not cells[-1]:
        cells = cells[:-1]
    if len(cells) > len(header):
        return Message(
            f"the row has {len(cells)} cells, the header {len(header)}",
            f"这一行有 {len(cells)} 格，表头只有 {len(header)} 格",
        )
    return dict(zip(header, cells + [""] * (len(header) - len(cells)), strict=True))


def _parquet(path: Path, tick: Tick | None) -> Iterator[Item]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    # One thread: it reads as fast from one file, and each further one reserves address space.
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    try:
        # Without pre-buffering a batch holds little more than itself, however large the row groups are.
        with pq.ParquetFile(path, pre_buffer=False) as file:
            total, row = file.metadata.num_rows, 0
            if len(file.schema_arrow) > limits.COLUMNS:
                raise limits.too_many_columns(path.name, 1, len(file.schema_arrow))
            for batch in file.iter_batches(batch_size=_TICK_EVERY):
                batch.validate(full=True)
                if tick:
                    tick(min(1.0, row / max(total, 1)))
                for value in batch.to_pylist():
                    row += 1
                    yield row, _plain(value)
    except pa.ArrowMemoryError as error:
        raise MemoryError from error
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _damaged_parquet(path) from error


def _plain(value: dict[str, Any]) -> Any:
    try:
        return plain(value)
    except ValueError:
        return Message("a column holds bytes that are no text", "有一列是字节而不是文字")


def _damaged_parquet(path: Path) -> UserError:
    return UserError(
        f"{path.name} is a damaged or incomplete Parquet file; write it again.",
        f"{path.name} 是损坏或不完整的 Parquet 文件，请重新生成。",
    )


def _xlsx(path: Path, tick: Tick | None) -> Iterator[Item]:
    _must_fit(path)
    header: list[str] | None = None
    for count, (number, cells, share) in enumerate(_sheet(path)):
        if tick and count % _TICK_EVERY == 0:
            tick(share)
        if not any(cell not in (None, "") for cell in cells):
            continue
        if header is None:
            header = _named(cells)
        else:
            header += [f"column {place}" for place in range(len(header) + 1, len(cells) + 1)]
            yield number, _record(header, [_cell(cell) for cell in cells])


def _sheet(path: Path) -> Iterator[tuple[int, list[Any], float]]:
    """Number, cells and the share read so far, of every row that the first sheet writes down."""
    from openpyxl import load_workbook

    try:
        # A path would be refused for its suffix; the file itself is judged by its content.
        with path.open("rb") as file:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                book = load_workbook(file, read_only=True, data_only=True)
            sheet = book.worksheets[0]
            total = max(sheet.max_row or 1, 1)
            for number, cells in _written_rows(path, sheet):
                yield number, cells, min(1.0, number / total)
    except _DAMAGED as error:
        raise UserError(
            f"{path.name} cannot be read as a spreadsheet; save it again as .xlsx or CSV.",
            f"{path.name} 无法作为表格读取，请重新保存为 .xlsx 或 CSV。",
        ) from error


def _written_rows(path: Path, sheet: Any) -> Iterator[tuple[int, list[Any]]]:
    """The rows of a read-only sheet as its XML has them.

    `iter_rows` fills every gap up to the number that a row claims to have, stops without a word at the size
    that the sheet claims to have, and passes over rows that are out of order.
    """
    from openpyxl.worksheet._reader import WorkSheetParser

    book, last, cells = sheet.parent, 0, 0
    with sheet._get_source() as source:
        parser = WorkSheetParser(
            source,
            sheet._shared_strings,
            data_only=True,
            epoch=book.epoch,
            date_formats=book._date_formats,
            timedelta_formats=book._timedelta_formats,
        )
        for number, row in parser.parse():
            if number > limits.SHEET_ROWS:
                raise limits.row_out_of_range(path.name, number)
            if number <= last:
                raise limits.row_out_of_order(path.name, number, last)
            last = number
            width = max((cell["column"] for cell in row if cell["value"] not in (None, "")), default=0)
            if width > limits.COLUMNS:
                raise limits.too_many_columns(path.name, number, width)
            cells += max(width, len(row))
            if cells > limits.CELLS:
                raise limits.too_many_cells(path.name)
            yield number, _placed(row, width)


def _placed(row: list[dict[str, Any]], width: int) -> list[Any]:
    cells: list[Any] = [None] * width
    for cell in row:
        if cell["column"] <= width:
            cells[cell["column"] - 1] = cell["value"]
    return cells


def _must_fit(path: Path) -> None:
    """Refuse what would not fit in memory: openpyxl holds all shared strings at once."""
    with zipfile.ZipFile(path) as archive:
        sizes = {info.filename: info.file_size for info in archive.infolist()}
    if (
        sum(sizes.values()) > limits.WORKBOOK_BYTES
        or sizes.get("xl/sharedStrings.xml", 0) > limits.STRINGS_BYTES
    ):
        raise UserError(
            f"{path.name} is too large for a spreadsheet; save it as CSV.",
            f"{path.name} 作为表格过大，请另存为 CSV。",
        )


def _cell(value: Any) -> str:
    """A cell as people see it: 520 rather than 520.0."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
