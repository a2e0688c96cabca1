"""What a file is, by its content: container, encoding, delimiter. Its name decides nothing."""

import codecs
import csv
import json
import re
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from backend.core.errors import UserError
from backend.corpus import limits
from backend.corpus.shapes import recognise_columns

Container = Literal["json", "jsonl", "text", "csv", "xlsx", "parquet"]

_BLOCK_BYTES = 1 << 20
_HEAD_LENGTH = 1 << 16
# UTF-32 before UTF-16: the mark of the one begins with the mark of the other.
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# At equal scores the first wins: commas and semicolons occur within texts, tabs hardly.
_DELIMITERS = ("\t", ",", ";")
_ARRAY_START = re.compile(r'\[\s*([{\["\]\d-]|true|false|null|$)')
_OBJECT_START = re.compile(r'\{\s*(["}]|$)')
_MULTIBYTE = re.compile(rb"[\xc3-\xf4][\x80-\xbf]+")


@dataclass(frozen=True)
class FileFormat:
    """How to read a file."""

    container: Container
    encoding: str | None = None
    delimiter: str = ","


def detect_format(file_path: Path, *, assume_table: bool = False, assume_prompts: bool = False) -> FileFormat:
    """Look into the file. `assume_table` and `assume_prompts` settle what plain text cannot tell by itself.

    Raises UserError for what is no file, empty, binary or in an unknown encoding.
    """
    require_regular_file(file_path)
    with file_path.open("rb") as binary_file:
        head_bytes = binary_file.read(_HEAD_LENGTH)
    # The marks of Parquet, ZIP and OLE2 (Excel before 2007).
    if head_bytes.startswith(b"PAR1"):
        return FileFormat("parquet")
    if head_bytes.startswith(b"PK\x03\x04") and _is_workbook(file_path):
        return FileFormat("xlsx")
    if head_bytes.startswith(b"\xd0\xcf\x11\xe0"):
        raise UserError(
            f"{file_path.name} is an old Excel file; save it as .xlsx or CSV.",
            f"{file_path.name} 是旧版 Excel 文件，请另存为 .xlsx 或 CSV。",
        )
    text_encoding = _detect_encoding(file_path, head_bytes)
    with file_path.open(encoding=text_encoding, newline="") as text_stream:
        return _text_format(
            file_path,
            text_stream.read(_HEAD_LENGTH),
            text_encoding,
            assume_table=assume_table,
            assume_prompts=assume_prompts,
        )


def require_regular_file(file_path: Path) -> None:
    """Raises UserError for a folder, a device, a pipe, what does not exist, is empty or above FILE_BYTES."""
    if file_path.is_dir():
        raise UserError(f"{file_path} is a folder; name a file in it.", f"{file_path} 是文件夹，请指定其中的文件。")
    if not file_path.exists():
        raise UserError(f"{file_path} does not exist; check the name.", f"{file_path} 不存在，请检查文件名。")
    if not file_path.is_file():
        raise UserError(
            f"{file_path} is a device or a pipe; save what it holds as a file first.",
            f"{file_path} 是设备或管道，请先把内容保存为文件。",
        )
    file_size = file_path.stat().st_size
    if file_size == 0:
        raise empty_file_error(file_path)
    if file_size > limits.FILE_BYTES:
        raise limits.file_too_large(file_path.name, file_size)


def empty_file_error(file_path: Path) -> UserError:
    """The error for a file without a single row."""
    return UserError(
        f"{file_path.name} is empty; there is nothing to import.",
        f"{file_path.name} 是空文件，没有可导入的内容。",
    )


def _is_workbook(file_path: Path) -> bool:
    try:
        with zipfile.ZipFile(file_path) as archive:
            return "xl/workbook.xml" in archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise UserError(
            f"{file_path.name} is a damaged spreadsheet or archive; save it again.",
            f"{file_path.name} 是损坏的表格或压缩文件，请重新保存。",
        ) from error


def _detect_encoding(file_path: Path, head_bytes: bytes) -> str:
    for byte_mark, encoding_name in _BYTE_ORDER_MARKS:
        if head_bytes.startswith(byte_mark):
            return _require_decodable(file_path, encoding_name)
    # Raw NUL bytes are a mark of binary files; within JSON they come escaped and reach the row's checks.
    if b"\x00" in head_bytes:
        raise _not_text_error(file_path)
    decoding_break = _find_decoding_break(file_path, "utf-8")
    if decoding_break is None:
        return "utf-8"
    break_offset, valid_characters = decoding_break
    # GB18030 accepts most damaged UTF-8 too, as gibberish: valid multi-byte characters before the break
    # say which of the two it is, for GB18030 text almost never looks like UTF-8 for that long.
    if valid_characters >= 8:
        line_number = _line_at_offset(file_path, break_offset)
        raise UserError(
            f"{file_path.name}, line {line_number}: damaged UTF-8 text; save the file again as UTF-8.",
            f"{file_path.name} 第 {line_number} 行：UTF-8 文本已损坏，请重新保存为 UTF-8。",
        )
    if _find_decoding_break(file_path, "gb18030") is None:
        return "gb18030"
    raise _not_text_error(file_path)


def _require_decodable(file_path: Path, encoding_name: str) -> str:
    if _find_decoding_break(file_path, encoding_name) is None:
        return encoding_name
    raise _not_text_error(file_path)


def _find_decoding_break(file_path: Path, encoding_name: str) -> tuple[int, int] | None:
    """Where decoding first fails and how many multi-byte characters precede it (up to a block back)."""
    decoder = codecs.getincrementaldecoder(encoding_name)()
    decoded_bytes, previous_block = 0, b""
    with file_path.open("rb") as binary_file:
        for file_block in _read_blocks(binary_file):
            try:
                decoder.decode(file_block, final=not file_block)
            except UnicodeDecodeError as error:
                # The decoder puts the unfinished character of the block before in front of this one.
                pending_bytes = len(error.object) - len(file_block)
                bytes_before = (previous_block + file_block)[: len(previous_block) + error.start - pending_bytes]
                return max(0, decoded_bytes + error.start - pending_bytes), len(_MULTIBYTE.findall(bytes_before))
            decoded_bytes, previous_block = decoded_bytes + len(file_block), file_block
    return None


def _read_blocks(binary_file: BinaryIO) -> Iterator[bytes]:
    """The file block by block, and an empty one at the end."""
    while file_block := binary_file.read(_BLOCK_BYTES):
        yield file_block
    yield b""


def _line_at_offset(file_path: Path, byte_offset: int) -> int:
    with file_path.open("rb") as binary_file:
        line_number = 1
        while byte_offset > 0 and (file_block := binary_file.read(min(_BLOCK_BYTES, byte_offset))):
            line_number += file_block.count(b"\n")
            byte_offset -= len(file_block)
    return line_number


def _not_text_error(file_path: Path) -> UserError:
    return UserError(
        f"{file_path.name} is neither text in UTF-8, UTF-16 or GB18030 nor Parquet nor a spreadsheet.",
        f"{file_path.name} 既不是 UTF-8、UTF-16 或 GB18030 文本，也不是 Parquet 或表格文件。",
    )


def _text_format(
    file_path: Path, head_text: str, encoding_name: str, *, assume_table: bool, assume_prompts: bool
) -> FileFormat:
    start = head_text.lstrip()
    if not start:
        raise empty_file_error(file_path)
    if _ARRAY_START.match(start):
        return FileFormat("json", encoding_name)
    if _OBJECT_START.match(start):
        _require_json_lines(file_path, start)
        return FileFormat("jsonl", encoding_name)
    column_delimiter, is_table = _guess_delimiter(file_path, head_text)
    if not assume_prompts and (assume_table or is_table):
        return FileFormat("csv", encoding_name, column_delimiter)
    return FileFormat("text", encoding_name)


def _require_json_lines(file_path: Path, start: str) -> None:
    """Refuse an object spread over lines: it is one thing, not a list of rows."""
    # A file whose first line is whole is JSON Lines, even if a later line is not: that one is then named.
    first_line = start.split("\n", 1)[0].strip()
    try:
        json.loads(first_line)
    except (ValueError, RecursionError):
        with suppress(ValueError, RecursionError):
            if first_line != "{":
                json.JSONDecoder(strict=False).raw_decode(start)
            raise UserError(
                f"{file_path.name} holds one JSON object; write a list [ … ] or one object a line.",
                f"{file_path.name} 的顶层是一个 JSON 对象，请改成列表 [ … ]，或每行一个对象。",
            ) from None


def _guess_delimiter(file_path: Path, head_text: str) -> tuple[str, bool]:
    """The likeliest delimiter, and whether the text is a table: known names, or even rows, at its head."""
    lines = head_text.splitlines(keepends=True)
    # The last line of the head is cut somewhere in its middle.
    lines = lines[:-1] if len(head_text) == _HEAD_LENGTH and len(lines) > 1 else lines
    suffix_hints = file_path.suffix.lower() in (".csv", ".tsv")
    best_delimiter, best_score = ",", 0
    for candidate_delimiter in _DELIMITERS:
        rows = _sample_rows(lines, candidate_delimiter)
        known_columns = recognise_columns(rows[0]) if rows else {}
        equal_widths = len(rows) > 1 and len(rows[0]) > 1 and len({len(row) for row in rows}) == 1
        has_header = bool(known_columns) and (len(rows[0]) > 1 or "prompt" in known_columns)
        # A known name says more than even rows, which prose can have by chance; the suffix only breaks ties.
        delimiter_score = (
            10 * len(known_columns) * has_header + 2 * equal_widths + (suffix_hints and bool(rows) and len(rows[0]) > 1)
        )
        if delimiter_score > best_score:
            best_delimiter, best_score = candidate_delimiter, delimiter_score
    return best_delimiter, best_score > 0


def _sample_rows(lines: list[str], column_delimiter: str) -> list[list[str]]:
    rows: list[list[str]] = []
    try:
        for row in csv.reader(lines, delimiter=column_delimiter):
            if row:
                rows.append(row)
            if len(rows) == 20:
                break
    except csv.Error:
        pass
    return rows
