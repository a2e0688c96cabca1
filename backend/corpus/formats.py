"""The formats that are written: each takes records and writes one file."""

import csv
import json
from collections.abc import Callable
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Protocol

from backend.corpus.collect import ExportRecord
from backend.corpus.rows import guard_formula

SUFFIXES = {"trl": ".jsonl", "sharegpt": ".json", "csv": ".csv", "parquet": ".parquet"}

# Each batch becomes a row group of the Parquet file.
_BATCH_SIZE = 1_000
_EXTRA_FIELDS = ("flaw", "reason", "occasion", "recipient", "style", "split")


class RecordWriter(Protocol):
    """Writes records of one split to one open file."""

    def write(self, record: ExportRecord) -> None:
        """Append a record."""

    def close(self) -> None:
        """Finish the file."""


def open_writer(format_name: str, file_path: Path) -> RecordWriter:
    """A writer on a new file; `format_name` is a key of SUFFIXES."""
    if format_name == "trl":
        return _JsonLinesWriter(file_path)
    if format_name == "sharegpt":
        return _JsonArrayWriter(file_path)
    return _CsvWriter(file_path) if format_name == "csv" else _ParquetWriter(file_path)


def _chat_turn(record: ExportRecord, field_name: str, speaker_role: str) -> list[dict[str, str]]:
    return [{"role": speaker_role, "content": record[field_name]}]


def to_trl_record(record: ExportRecord) -> ExportRecord:
    """TRL's conversational preference row, or its unpaired row for a label."""
    trl_record: ExportRecord = {"prompt": _chat_turn(record, "prompt", "user")}
    if "chosen" in record:
        trl_record["chosen"] = _chat_turn(record, "chosen", "assistant")
        trl_record["rejected"] = _chat_turn(record, "rejected", "assistant")
    else:
        trl_record["completion"] = _chat_turn(record, "response", "assistant")
        # TRL's unpaired preference rows (KTO) take truth values.
        trl_record["label"] = bool(record["label"])
    return trl_record | _extra_fields(record)


def to_sharegpt_record(record: ExportRecord) -> ExportRecord:
    """A ShareGPT preference row, or a conversation with a label."""
    conversation = [{"from": "human", "value": record["prompt"]}]
    if "chosen" in record:
        preference_turns = {side: {"from": "gpt", "value": record[side]} for side in ("chosen", "rejected")}
        return {"conversations": conversation} | preference_turns | _extra_fields(record)
    conversation.append({"from": "gpt", "value": record["response"]})
    return {"conversations": conversation, "label": bool(record["label"])} | _extra_fields(record)


def _extra_fields(record: ExportRecord) -> ExportRecord:
    return {column_name: record[column_name] for column_name in _EXTRA_FIELDS if column_name in record}


class _TextWriter:
    """A text file whose rows differ only in what stands between them."""

    convert_record: Callable[[ExportRecord], ExportRecord]
    opening, separator, closing = "", "\n", "\n"

    def __init__(self, file_path: Path) -> None:
        # The same bytes on every system.
        self._text_file: TextIOWrapper = file_path.open("w", encoding="utf-8", newline="\n")
        self._is_first = True

    def write(self, record: ExportRecord) -> None:
        self._text_file.write(self.opening if self._is_first else self.separator)
        self._text_file.write(json.dumps(type(self).convert_record(record), ensure_ascii=False))
        self._is_first = False

    def close(self) -> None:
        self._text_file.write(self.closing)
        self._text_file.close()


class _JsonLinesWriter(_TextWriter):
    convert_record = staticmethod(to_trl_record)


class _JsonArrayWriter(_TextWriter):
    convert_record = staticmethod(to_sharegpt_record)
    opening, separator, closing = "[\n", ",\n", "\n]\n"


class _CsvWriter:
    def __init__(self, file_path: Path) -> None:
        # With the mark, Excel shows Chinese as Chinese.
        self._text_file = file_path.open("w", encoding="utf-8-sig", newline="")
        self._row_writer = csv.writer(self._text_file)
        self._is_first = True

    def write(self, record: ExportRecord) -> None:
        if self._is_first:
            self._row_writer.writerow(record)
            self._is_first = False
        self._row_writer.writerow(
            "" if cell_value is None else guard_formula(str(cell_value)) for cell_value in record.values()
        )

    def close(self) -> None:
        self._text_file.close()


class _ParquetWriter:
    def __init__(self, file_path: Path) -> None:
        self._file_path = file_path
        self._pending_rows: list[ExportRecord] = []
        self._table_writer: Any = None

    def write(self, record: ExportRecord) -> None:
        self._pending_rows.append(record)
        if len(self._pending_rows) == _BATCH_SIZE:
            self._write_batch()

    def _write_batch(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self._pending_rows:
            column_names = self._pending_rows[0]
            # Said rather than inferred: where all flaws of a first batch are empty, Arrow makes the column
            # null, and the next batch does not fit the file.
            table_schema = pa.schema(
                [(column_name, pa.int8() if column_name == "label" else pa.string()) for column_name in column_names]
            )
            self._table_writer = self._table_writer or pq.ParquetWriter(self._file_path, table_schema)
            self._table_writer.write_table(pa.Table.from_pylist(self._pending_rows, schema=table_schema))
            self._pending_rows = []

    def close(self) -> None:
        self._write_batch()
        if self._table_writer is not None:
            self._table_writer.close()
