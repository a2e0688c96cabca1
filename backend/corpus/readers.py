"""Readers: each yields (line, value) one by one, in memory bounded by the largest row it accepts.

`line` is the line a row starts on in text files, and the row's number in Parquet files and spreadsheets
(where the header is row 1). A row that cannot be read at all is yielded as a Message saying why.
"""

import csv
import io
import json
import subprocess
import sys
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from backend.corpus.cells import unguard
from backend.corpus.detect import Form
from backend.corpus.json_array import array_items
from backend.errors import Message, UserError

Item = tuple[int, Any]
Tick = Callable[[float], None]

MAX_LINE = 8_000_000  # a million characters may come as six million of JSON escapes
_MAX_WORKBOOK = 512 << 20
_MAX_STRINGS = 64 << 20
_TICK_EVERY = 500
_PROBE = Path(__file__).with_name("parquet_probe.py")
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

    about = path.stat()
    _must_be_survived(path, about.st_size, about.st_mtime_ns)
    try:
        # Without pre-buffering a batch holds little more than itself, however large the row groups are.
        with pq.ParquetFile(path, pre_buffer=False) as file:
            total, row = file.metadata.num_rows, 0
            for batch in file.iter_batches(batch_size=_TICK_EVERY):
                if tick:
                    tick(min(1.0, row / max(total, 1)))
                for value in batch.to_pylist():
                    row += 1
                    yield row, value
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _damaged_parquet(path) from error


@lru_cache(maxsize=64)
def _must_be_survived(path: Path, _size: int, _changed: int) -> None:
    """Let another process read the file first: some damage ends its reader. Sound files are remembered."""
    command = [sys.executable, "-I", str(_PROBE), str(path)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        raise _damaged_parquet(path)


def _damaged_parquet(path: Path) -> UserError:
    return UserError(
        f"{path.name} is a damaged or incomplete Parquet file; write it again.",
        f"{path.name} 是损坏或不完整的 Parquet 文件，请重新生成。",
    )


def _xlsx(path: Path, tick: Tick | None) -> Iterator[Item]:
    _must_fit(path)
    header: list[str] | None = None
    for number, cells, share in _sheet(path):
        if tick and number % _TICK_EVERY == 0:
            tick(share)
        if not any(cell not in (None, "") for cell in cells):
            continue
        if header is None:
            header = _named(cells)
        else:
            yield number, _record(header, [_cell(cell) for cell in cells])


def _sheet(path: Path) -> Iterator[tuple[int, list[Any], float]]:
    from openpyxl import load_workbook

    try:
        # A path would be refused for its suffix; the file itself is judged by its content.
        with path.open("rb") as file:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                book = load_workbook(file, read_only=True, data_only=True)
            sheet = book.worksheets[0]
            total = max(sheet.max_row or 1, 1)
            for number, cells in enumerate(sheet.iter_rows(values_only=True), 1):
                yield number, list(cells), min(1.0, number / total)
    except _DAMAGED as error:
        raise UserError(
            f"{path.name} cannot be read as a spreadsheet; save it again as .xlsx or CSV.",
            f"{path.name} 无法作为表格读取，请重新保存为 .xlsx 或 CSV。",
        ) from error


def _must_fit(path: Path) -> None:
    """Refuse what would not fit in memory: openpyxl holds all shared strings at once."""
    with zipfile.ZipFile(path) as archive:
        sizes = {info.filename: info.file_size for info in archive.infolist()}
    if sum(sizes.values()) > _MAX_WORKBOOK or sizes.get("xl/sharedStrings.xml", 0) > _MAX_STRINGS:
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
