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

from backend.core.errors import Message, UserError
from backend.corpus import limits
from backend.corpus.detect import FileFormat
from backend.corpus.json_array import iterate_array
from backend.corpus.reader_frames import to_json_types
from backend.corpus.rows import unguard_formula

NumberedRow = tuple[int, Any]
ShareCallback = Callable[[float], None]

MAX_LINE_LENGTH = 8_000_000  # a million characters may come as six million of JSON escapes
# Rows between two reports of the share read; as many travel in one frame, which carries the share.
ROWS_PER_TICK = 500
# What openpyxl and zipfile raise on bytes that are not what they seem.
_DAMAGE_ERRORS = (
    *(zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, OSError, SyntaxError),
    *(LookupError, ValueError, TypeError, AttributeError, OverflowError),
)


def read_rows(
    file_path: Path, file_format: FileFormat, progress_callback: ShareCallback | None = None
) -> Iterator[NumberedRow]:
    """The file's rows: dicts by column, plain strings for prompts a line, a Message for a row that cannot be read.

    `progress_callback` gets the share read so far, 0 to 1. Raises UserError where nothing more can be read.
    """
    if file_format.container == "parquet":
        return _read_parquet(file_path, progress_callback)
    if file_format.container == "xlsx":
        return _read_workbook(file_path, progress_callback)
    return _read_text_file(file_path, file_format, progress_callback)


def _read_text_file(
    file_path: Path, file_format: FileFormat, progress_callback: ShareCallback | None
) -> Iterator[NumberedRow]:
    # The csv module wants line breaks as they are: a quoted cell may hold some of its own.
    newline_mode = "" if file_format.container == "csv" else None
    with (
        file_path.open("rb") as binary_file,
        io.TextIOWrapper(binary_file, encoding=file_format.encoding, newline=newline_mode) as text_stream,
    ):
        numbered_rows = _parse_text(file_path, file_format, text_stream)
        yield from (
            _with_progress(numbered_rows, binary_file, file_path.stat().st_size, progress_callback)
            if progress_callback
            else numbered_rows
        )


def _parse_text(file_path: Path, file_format: FileFormat, text_stream: TextIO) -> Iterator[NumberedRow]:
    if file_format.container == "json":
        return iterate_array(file_path.name, text_stream)
    if file_format.container == "jsonl":
        return _parse_json_lines(text_stream)
    if file_format.container == "csv":
        return _parse_csv(file_path, text_stream, file_format.delimiter)
    return _parse_plain_lines(text_stream)


def _with_progress(
    numbered_rows: Iterable[NumberedRow],
    binary_file: BinaryIO,
    file_size: int,
    progress_callback: ShareCallback,
) -> Iterator[NumberedRow]:
    for row_count, numbered_row in enumerate(numbered_rows):
        if row_count % ROWS_PER_TICK == 0:
            # Of the bytes beneath: the text stream's own tell() has to reconstruct the decoder's state each
            # time.
            progress_callback(binary_file.tell() / file_size)
        yield numbered_row


def _numbered_lines(text_stream: TextIO) -> Iterator[tuple[int, str | None]]:
    """Numbered lines; None in place of one too long to hold."""
    line_number = 0
    while line_text := text_stream.readline(MAX_LINE_LENGTH):
        line_number += 1
        if len(line_text) < MAX_LINE_LENGTH or line_text.endswith("\n"):
            yield line_number, line_text
            continue
        # The rest of the line is passed over in pieces, so that memory stays bounded however long it is.
        while line_text and not line_text.endswith("\n"):
            line_text = text_stream.readline(MAX_LINE_LENGTH)
        yield line_number, None


_LINE_TOO_LONG = Message("the line is far too long", "这一行过长")


def _parse_plain_lines(text_stream: TextIO) -> Iterator[NumberedRow]:
    for line_number, line_text in _numbered_lines(text_stream):
        if line_text is None:
            yield line_number, _LINE_TOO_LONG
        elif line_text.strip():
            yield line_number, line_text


def _parse_json_lines(text_stream: TextIO) -> Iterator[NumberedRow]:
    for line_number, line_text in _numbered_lines(text_stream):
        if line_text is None:
            yield line_number, _LINE_TOO_LONG
        elif line_text.strip():
            yield line_number, _parse_json_line(line_text)


def _parse_json_line(line_text: str) -> Any:
    try:
        return json.loads(line_text, strict=False)
    except (ValueError, RecursionError) as error:
        parse_fault = error.msg if isinstance(error, json.JSONDecodeError) else "nested or long beyond reason"
        return Message(f"the line is not complete JSON ({parse_fault})", "这一行不是完整的 JSON")


def _parse_csv(file_path: Path, text_stream: TextIO, column_delimiter: str) -> Iterator[NumberedRow]:
    # Python's own limit of 131,072 characters would end the file rather than refuse the row that the checks
    # refuse anyway.
    csv.field_size_limit(MAX_LINE_LENGTH)
    # Strict: else a quote left open at the end of the file, or text behind a closing one, passes without a
    # word.
    reader = csv.reader(_bounded_lines(file_path, text_stream), delimiter=column_delimiter, strict=True)
    header: list[str] | None = None
    while True:
        line_number = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            if header is None or "field limit" in str(error):
                raise _broken_table_error(file_path, line_number) from error
            yield line_number, Message("the quotes do not match", "引号不配对")
            continue
        if cells is None:
            return
        if not any(cells):
            continue
        if header is None:
            header = _column_names(cells)
            _require_few_columns(file_path, line_number, header)
        else:
            yield line_number, _build_record(header, [unguard_formula(cell) for cell in cells])


def _broken_table_error(path: Path, line: int) -> UserError:
    return UserError(
        f"{path.name}, line {line}: this is no table, or a quote is never closed; correct the file.",
        f"{path.name} 第 {line} 行：不是表格，或者引号没有闭合，请改正文件。",
    )


def _bounded_lines(file_path: Path, text_stream: TextIO) -> Iterator[str]:
    for line_number, line_text in _numbered_lines(text_stream):
        if line_text is None:
            raise _broken_table_error(file_path, line_number)
        yield line_text


def _column_names(cells: list[Any]) -> list[str]:
    return [_cell_text(cell).strip() or f"column {column_number}" for column_number, cell in enumerate(cells, 1)]


def _require_few_columns(file_path: Path, line_number: int, header: list[str]) -> None:
    if len(header) > limits.MAX_COLUMNS:
        raise limits.too_many_columns(file_path.name, line_number, len(header))


def _build_record(header: list[str], cells: list[Any]) -> dict[str, Any] | Message:
    # Programs end rows with delimiters that stand for nothing; a filled cell without a column is data that
    # would get lost.
    while len(cells) > len(header) and not cells[-1]:
        cells = cells[:-1]
    if len(cells) > len(header):
        return Message(
            f"the row has {len(cells)} cells, the header {len(header)}",
            f"这一行有 {len(cells)} 格，表头只有 {len(header)} 格",
        )
    return dict(zip(header, cells + [""] * (len(header) - len(cells)), strict=True))


def _read_parquet(file_path: Path, progress_callback: ShareCallback | None) -> Iterator[NumberedRow]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    # One thread: it reads as fast from one file, and each further one reserves address space.
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    try:
        # Without pre-buffering a batch holds little more than itself, however large the row groups are.
        with pq.ParquetFile(file_path, pre_buffer=False) as parquet_file:
            total_rows, row_number = parquet_file.metadata.num_rows, 0
            if len(parquet_file.schema_arrow) > limits.MAX_COLUMNS:
                raise limits.too_many_columns(file_path.name, 1, len(parquet_file.schema_arrow))
            for batch in parquet_file.iter_batches(batch_size=ROWS_PER_TICK):
                # Offsets in a damaged file may point outside their buffers, and to_pylist would follow them.
                batch.validate(full=True)
                if progress_callback:
                    progress_callback(min(1.0, row_number / max(total_rows, 1)))
                for row_value in batch.to_pylist():
                    row_number += 1
                    yield row_number, _to_plain_row(row_value)
    # As Python's own, by which the program tells its parent that memory and not the file is what failed.
    except pa.ArrowMemoryError as error:
        raise MemoryError from error
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _damaged_parquet_error(file_path) from error


def _to_plain_row(row_value: dict[str, Any]) -> Any:
    try:
        return to_json_types(row_value)
    except ValueError:
        return Message("a column holds bytes that are no text", "有一列是字节而不是文字")


def _damaged_parquet_error(file_path: Path) -> UserError:
    return UserError(
        f"{file_path.name} is a damaged or incomplete Parquet file; write it again.",
        f"{file_path.name} 是损坏或不完整的 Parquet 文件，请重新生成。",
    )


def _read_workbook(file_path: Path, progress_callback: ShareCallback | None) -> Iterator[NumberedRow]:
    _require_fitting_memory(file_path)
    header: list[str] | None = None
    for row_count, (row_number, cells, read_share) in enumerate(_first_sheet_rows(file_path)):
        if progress_callback and row_count % ROWS_PER_TICK == 0:
            progress_callback(read_share)
        if not any(cell not in (None, "") for cell in cells):
            continue
        if header is None:
            header = _column_names(cells)
        else:
            header += [f"column {column_number}" for column_number in range(len(header) + 1, len(cells) + 1)]
            yield row_number, _build_record(header, [_cell_text(cell) for cell in cells])


def _first_sheet_rows(file_path: Path) -> Iterator[tuple[int, list[Any], float]]:
    """Number, cells and the share read so far, of every row that the first sheet writes down."""
    from openpyxl import load_workbook

    try:
        # A path would be refused for its suffix; the file itself is judged by its content.
        with file_path.open("rb") as binary_file:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                # With data_only a formula is the value last computed for it, which is what people saw; warnings
                # are about styles.
                workbook = load_workbook(binary_file, read_only=True, data_only=True)
            worksheet = workbook.worksheets[0]
            # What the sheet claims to have is good enough for a progress bar and for nothing else.
            total_rows = max(worksheet.max_row or 1, 1)
            for row_number, cells in _written_rows(file_path, worksheet):
                yield row_number, cells, min(1.0, row_number / total_rows)
    except _DAMAGE_ERRORS as error:
        raise UserError(
            f"{file_path.name} cannot be read as a spreadsheet; save it again as .xlsx or CSV.",
            f"{file_path.name} 无法作为表格读取，请重新保存为 .xlsx 或 CSV。",
        ) from error


def _written_rows(file_path: Path, worksheet: Any) -> Iterator[tuple[int, list[Any]]]:
    """The rows of a read-only sheet as its XML has them.

    openpyxl's own iteration fills every gap up to the number that a row claims to have, stops without a word at the
    size that the sheet claims to have, and passes over rows that are out of order.
    """
    from openpyxl.worksheet._reader import WorkSheetParser

    workbook, last_number, cells = worksheet.parent, 0, 0
    with worksheet._get_source() as sheet_source:
        parser = WorkSheetParser(
            sheet_source,
            worksheet._shared_strings,
            data_only=True,
            epoch=workbook.epoch,
            date_formats=workbook._date_formats,
            timedelta_formats=workbook._timedelta_formats,
        )
        for row_number, row_cells in parser.parse():
            if row_number > limits.SHEET_ROWS:
                raise limits.row_out_of_range(file_path.name, row_number)
            if row_number <= last_number:
                raise limits.row_out_of_order(file_path.name, row_number, last_number)
            last_number = row_number
            # By the last filled cell: formatted blanks to the right are no columns.
            row_width = max((cell["column"] for cell in row_cells if cell["value"] not in (None, "")), default=0)
            if row_width > limits.MAX_COLUMNS:
                raise limits.too_many_columns(file_path.name, row_number, row_width)
            cells += max(row_width, len(row_cells))
            if cells > limits.MAX_CELLS:
                raise limits.too_many_cells(file_path.name)
            yield row_number, _cells_by_column(row_cells, row_width)


def _cells_by_column(cell_records: list[dict[str, Any]], row_width: int) -> list[Any]:
    cells: list[Any] = [None] * row_width
    for cell in cell_records:
        if cell["column"] <= row_width:
            cells[cell["column"] - 1] = cell["value"]
    return cells


def _require_fitting_memory(file_path: Path) -> None:
    """Refuse what would not fit in memory: openpyxl holds all shared strings at once."""
    with zipfile.ZipFile(file_path) as zip_archive:
        sizes_by_name = {archive_entry.filename: archive_entry.file_size for archive_entry in zip_archive.infolist()}
    if (
        sum(sizes_by_name.values()) > limits.MAX_WORKBOOK_BYTES
        or sizes_by_name.get("xl/sharedStrings.xml", 0) > limits.MAX_STRINGS_BYTES
    ):
        raise UserError(
            f"{file_path.name} is too large for a spreadsheet; save it as CSV.",
            f"{file_path.name} 作为表格过大，请另存为 CSV。",
        )


def _cell_text(row_value: Any) -> str:
    """A cell as people see it: 520 rather than 520.0."""
    if row_value is None:
        return ""
    # Spreadsheets hold numbers as floating-point ones, and a request may be 520.
    if isinstance(row_value, float) and row_value.is_integer():
        return str(int(row_value))
    return str(row_value)
