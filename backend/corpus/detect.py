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

from backend.corpus import limits
from backend.corpus.columns import recognised
from backend.errors import UserError

Container = Literal["json", "jsonl", "text", "csv", "xlsx", "parquet"]

_BLOCK = 1 << 20
_HEAD = 1 << 16
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_DELIMITERS = ("\t", ",", ";")
_ARRAY = re.compile(r'\[\s*([{\["\]\d-]|true|false|null|$)')
_OBJECT = re.compile(r'\{\s*(["}]|$)')
_MULTIBYTE = re.compile(rb"[\xc3-\xf4][\x80-\xbf]+")


@dataclass(frozen=True)
class Form:
    """How to read a file."""

    container: Container
    encoding: str | None = None
    delimiter: str = ","


def detect(path: Path, *, table: bool = False, prompts: bool = False) -> Form:
    """Look into the file. `table` and `prompts` settle what plain text cannot tell by itself.

    Raises UserError for what is no file, empty, binary or in an unknown encoding.
    """
    must_be_file(path)
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if head.startswith(b"PAR1"):
        return Form("parquet")
    if head.startswith(b"PK\x03\x04") and _is_workbook(path):
        return Form("xlsx")
    if head.startswith(b"\xd0\xcf\x11\xe0"):
        raise UserError(
            f"{path.name} is an old Excel file; save it as .xlsx or CSV.",
            f"{path.name} 是旧版 Excel 文件，请另存为 .xlsx 或 CSV。",
        )
    encoding = _encoding(path, head)
    with path.open(encoding=encoding, newline="") as text:
        return _text_form(path, text.read(_HEAD), encoding, table=table, prompts=prompts)


def must_be_file(path: Path) -> None:
    """Raises UserError for a folder, a device, a pipe, what does not exist, is empty or beyond measure."""
    if path.is_dir():
        raise UserError(f"{path} is a folder; name a file in it.", f"{path} 是文件夹，请指定其中的文件。")
    if not path.exists():
        raise UserError(f"{path} does not exist; check the name.", f"{path} 不存在，请检查文件名。")
    if not path.is_file():
        raise UserError(
            f"{path} is a device or a pipe; save what it holds as a file first.",
            f"{path} 是设备或管道，请先把内容保存为文件。",
        )
    size = path.stat().st_size
    if size == 0:
        raise empty(path)
    if size > limits.FILE_BYTES:
        raise limits.file_too_large(path.name, size)


def empty(path: Path) -> UserError:
    """The error for a file without a single row."""
    return UserError(
        f"{path.name} is empty; there is nothing to import.", f"{path.name} 是空文件，没有可导入的内容。"
    )


def _is_workbook(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return "xl/workbook.xml" in archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise UserError(
            f"{path.name} is a damaged spreadsheet or archive; save it again.",
            f"{path.name} 是损坏的表格或压缩文件，请重新保存。",
        ) from error


def _encoding(path: Path, head: bytes) -> str:
    for bom, name in _BOMS:
        if head.startswith(bom):
            return _checked(path, name)
    # Raw NUL bytes are a mark of binary files; within JSON they come escaped and reach the row's checks.
    if b"\x00" in head:
        raise _not_text(path)
    broken = _first_break(path, "utf-8")
    if broken is None:
        return "utf-8"
    at, valid = broken
    # GB18030 accepts most damaged UTF-8 too, as gibberish: valid multi-byte characters before the break
    # say which of the two it is, for GB18030 text almost never looks like UTF-8 for that long.
    if valid >= 8:
        line = _line_of(path, at)
        raise UserError(
            f"{path.name}, line {line}: damaged UTF-8 text; save the file again as UTF-8.",
            f"{path.name} 第 {line} 行：UTF-8 文本已损坏，请重新保存为 UTF-8。",
        )
    if _first_break(path, "gb18030") is None:
        return "gb18030"
    raise _not_text(path)


def _checked(path: Path, encoding: str) -> str:
    if _first_break(path, encoding) is None:
        return encoding
    raise _not_text(path)


def _first_break(path: Path, encoding: str) -> tuple[int, int] | None:
    """Where decoding first fails and how many multi-byte characters precede it (up to a block back)."""
    decoder = codecs.getincrementaldecoder(encoding)()
    done, previous = 0, b""
    with path.open("rb") as file:
        for block in _blocks(file):
            try:
                decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                pending = len(error.object) - len(block)
                before = (previous + block)[: len(previous) + error.start - pending]
                return max(0, done + error.start - pending), len(_MULTIBYTE.findall(before))
            done, previous = done + len(block), block
    return None


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    """The file block by block, and an empty one at the end."""
    while block := file.read(_BLOCK):
        yield block
    yield b""


def _line_of(path: Path, offset: int) -> int:
    with path.open("rb") as file:
        line = 1
        while offset > 0 and (block := file.read(min(_BLOCK, offset))):
            line += block.count(b"\n")
            offset -= len(block)
    return line


def _not_text(path: Path) -> UserError:
    return UserError(
        f"{path.name} is neither text in UTF-8, UTF-16 or GB18030 nor Parquet nor a spreadsheet.",
        f"{path.name} 既不是 UTF-8、UTF-16 或 GB18030 文本，也不是 Parquet 或表格文件。",
    )


def _text_form(path: Path, head: str, encoding: str, *, table: bool, prompts: bool) -> Form:
    start = head.lstrip()
    if not start:
        raise empty(path)
    if _ARRAY.match(start):
        return Form("json", encoding)
    if _OBJECT.match(start):
        _must_be_lines(path, start)
        return Form("jsonl", encoding)
    delimiter, columns = _table_like(path, head)
    if not prompts and (table or columns):
        return Form("csv", encoding, delimiter)
    return Form("text", encoding)


def _must_be_lines(path: Path, start: str) -> None:
    """Refuse an object spread over lines: it is one thing, not a list of rows."""
    first = start.split("\n", 1)[0].strip()
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        with suppress(ValueError, RecursionError):
            if first != "{":
                json.JSONDecoder(strict=False).raw_decode(start)
            raise UserError(
                f"{path.name} holds one JSON object; write a list [ … ] or one object a line.",
                f"{path.name} 的顶层是一个 JSON 对象，请改成列表 [ … ]，或每行一个对象。",
            ) from None


def _table_like(path: Path, head: str) -> tuple[str, bool]:
    """The likeliest delimiter, and whether the text is a table: known names, or even rows, at its head."""
    lines = head.splitlines(keepends=True)
    lines = lines[:-1] if len(head) == _HEAD and len(lines) > 1 else lines
    hinted = path.suffix.lower() in (".csv", ".tsv")
    best, score = ",", 0
    for delimiter in _DELIMITERS:
        rows = _sample(lines, delimiter)
        names = recognised(rows[0]) if rows else {}
        even = len(rows) > 1 and len(rows[0]) > 1 and len({len(row) for row in rows}) == 1
        header = bool(names) and (len(rows[0]) > 1 or "prompt" in names)
        points = 10 * len(names) * header + 2 * even + (hinted and bool(rows) and len(rows[0]) > 1)
        if points > score:
            best, score = delimiter, points
    return best, score > 0


def _sample(lines: list[str], delimiter: str) -> list[list[str]]:
    rows: list[list[str]] = []
    try:
        for row in csv.reader(lines, delimiter=delimiter):
            if row:
                rows.append(row)
            if len(rows) == 20:
                break
    except csv.Error:
        pass
    return rows
