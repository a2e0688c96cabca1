"""What reading a foreign file may cost in rows, bytes, memory and time, and the refusals where it costs more."""

from dataclasses import dataclass

from backend.core.errors import UserError

# Pages take 200 MB; the command line takes more, but not a sparse file of a terabyte.
FILE_BYTES = 4 << 30
# Rows of one file.
MAX_ROWS = 5_000_000
# Rows of one sheet: no spreadsheet program writes more.
SHEET_ROWS = 1_048_576
# Columns of one row.
# A sheet may have 16,384: a file of a few KB with one cell in the last of them kept openpyxl busy for a minute.
MAX_COLUMNS = 2_000
# Cells of one sheet, empty ones between filled ones included.
MAX_CELLS = 50_000_000
# One row as JSON in UTF-8. Checked rows are limited to far less.
# The longest line that is read, 8 million characters of up to four bytes. A started frame and one such row stay
# below MAX_FRAME_BYTES.
MAX_ROW_BYTES = 32_000_000
# What the archive's own directory says its parts unfold to.
MAX_WORKBOOK_BYTES = 512 << 20
# openpyxl holds all shared strings of a workbook at once.
MAX_STRINGS_BYTES = 64 << 20
# Address space of the reading process.
MEMORY_BYTES = 2 << 30
# Characters of rows that a byte of the file may unfold to, beyond a first 256 million.
# A kilobyte of Parquet can unfold to 2.7 GB.
_EXPANSION_FACTOR = 30


@dataclass(frozen=True)
class ReadingAllowance:
    """What reading one file may take: seconds of CPU, seconds without output, bytes of rows as JSON."""

    cpu_seconds: int
    silent_seconds: float
    max_characters: int


def to_import(size: int) -> ReadingAllowance:
    """The allowance for reading a whole file of `size` bytes: two minutes, and more for large files."""
    megabyte_count = size >> 20
    # Waiting is limited apart from computing, because a reader that hangs on a slow disk computes nothing.
    return ReadingAllowance(120 + 2 * megabyte_count, 60 + megabyte_count / 2, (256 << 20) + _EXPANSION_FACTOR * size)


def to_preview(size: int) -> ReadingAllowance:
    """The allowance for the first rows: the encoding is still found by looking at every byte."""
    seconds = 10 + (size >> 26)
    return ReadingAllowance(seconds, 1.5 * seconds, 256 << 20)


def file_too_large(name: str, size: int) -> UserError:
    """The refusal of a file of more than FILE_BYTES."""
    return UserError(
        f"{name} has {size >> 20:,} MB, more than {FILE_BYTES >> 20:,}; split it into several files.",
        f"{name} 有 {size >> 20:,} MB，超过 {FILE_BYTES >> 20:,} MB，请拆成几个文件。",
    )


def too_many_rows(name: str, limit: int) -> UserError:
    """The refusal of a file with more than `limit` rows."""
    return UserError(
        f"{name} has more than {limit:,} rows; split it into several files.",
        f"{name} 超过 {limit:,} 行，请拆成几个文件。",
    )


def row_out_of_range(name: str, row: int) -> UserError:
    """The refusal of a sheet that numbers a row beyond what any spreadsheet has."""
    return UserError(
        f"{name} declares row {row:,}, but a sheet has at most {SHEET_ROWS:,}; save it again, or as CSV.",
        f"{name} 声明了第 {row:,} 行，而工作表最多 {SHEET_ROWS:,} 行，请重新保存为 .xlsx 或 CSV。",
    )


def row_out_of_order(name: str, row: int, before: int) -> UserError:
    """The refusal of a sheet whose rows go back: spreadsheet programs pass over such rows without a word."""
    return UserError(
        f"{name} has row {row:,} behind row {before:,}; save it again as .xlsx or CSV.",
        f"{name} 的第 {row:,} 行排在第 {before:,} 行之后，请重新保存为 .xlsx 或 CSV。",
    )


def too_many_columns(name: str, row: int, count: int) -> UserError:
    """The refusal of a table with too many columns."""
    return UserError(
        f"{name}, line {row}: {count:,} columns, more than {MAX_COLUMNS:,}; keep only those that are needed.",
        f"{name} 第 {row} 行有 {count:,} 列，超过 {MAX_COLUMNS:,} 列，请只保留需要的列。",
    )


def too_many_cells(name: str) -> UserError:
    """The refusal of a sheet with too many cells."""
    return UserError(
        f"{name} spans more than {MAX_CELLS:,} cells, empty ones included; save it as CSV.",
        f"{name} 的范围超过 {MAX_CELLS:,} 个单元格（含空格），请另存为 CSV。",
    )


def expands_too_far(name: str, limit: int) -> UserError:
    """The refusal of a file whose rows are far larger than the file."""
    return UserError(
        f"{name} unfolds to more than {limit >> 20:,} MB of rows; split it, or save it as JSON Lines.",
        f"{name} 展开后超过 {limit >> 20:,} MB，请拆分，或另存为 JSON Lines。",
    )


def too_slow(name: str, seconds: float) -> UserError:
    """The refusal of a file that takes too long to read."""
    return UserError(
        f"Reading {name} took more than {seconds:,.0f} seconds; save it as JSON Lines or CSV, or split it.",
        f"读取 {name} 超过 {seconds:,.0f} 秒，请另存为 JSON Lines 或 CSV，或拆成几个文件。",
    )


def needs_too_much_memory(name: str) -> UserError:
    """The refusal of a file that takes too much memory to read."""
    return UserError(
        f"Reading {name} took more than {MEMORY_BYTES >> 20:,} MB of memory; save it as JSON Lines or CSV.",
        f"读取 {name} 占用的内存超过 {MEMORY_BYTES >> 20:,} MB，请另存为 JSON Lines 或 CSV。",
    )


def too_many_readers() -> UserError:
    """The refusal where other files are being read and more are waiting already."""
    return UserError(
        "Several files are being read just now; try again in a moment.",
        "正在读取好几个文件，请稍后再试。",
    )
