"""The formats that are written: each takes records and writes one file."""

import csv
import json
from collections.abc import Callable
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Protocol

from backend.corpus.cells import guard
from backend.corpus.collect import Record

SUFFIXES = {"trl": ".jsonl", "sharegpt": ".json", "csv": ".csv", "parquet": ".parquet"}

_BATCH = 1_000
_REST = ("flaw", "reason", "occasion", "recipient", "style", "split")


class Writer(Protocol):
    """One open file."""

    def write(self, record: Record) -> None:
        """Append a record."""

    def close(self) -> None:
        """Finish the file."""


def writer(fmt: str, path: Path) -> Writer:
    """A writer of the format on a new file."""
    if fmt == "trl":
        return _JsonLines(path)
    if fmt == "sharegpt":
        return _JsonArray(path)
    return _Csv(path) if fmt == "csv" else _Parquet(path)


def _turn(record: Record, field: str, role: str) -> list[dict[str, str]]:
    return [{"role": role, "content": record[field]}]


def trl(record: Record) -> Record:
    """TRL's conversational preference row, or its unpaired row for a label."""
    out: Record = {"prompt": _turn(record, "prompt", "user")}
    if "chosen" in record:
        out["chosen"] = _turn(record, "chosen", "assistant")
        out["rejected"] = _turn(record, "rejected", "assistant")
    else:
        out["completion"] = _turn(record, "response", "assistant")
        out["label"] = bool(record["label"])
    return out | _rest(record)


def sharegpt(record: Record) -> Record:
    """A ShareGPT preference row, or a conversation with a label."""
    turns = [{"from": "human", "value": record["prompt"]}]
    if "chosen" in record:
        sides = {side: {"from": "gpt", "value": record[side]} for side in ("chosen", "rejected")}
        return {"conversations": turns} | sides | _rest(record)
    turns.append({"from": "gpt", "value": record["response"]})
    return {"conversations": turns, "label": bool(record["label"])} | _rest(record)


def _rest(record: Record) -> Record:
    return {name: record[name] for name in _REST if name in record}


class _Text:
    """A text file whose rows differ only in what stands between them."""

    shape: Callable[[Record], Record]
    opening, between, closing = "", "\n", "\n"

    def __init__(self, path: Path) -> None:
        self._file: TextIOWrapper = path.open("w", encoding="utf-8", newline="\n")
        self._first = True

    def write(self, record: Record) -> None:
        self._file.write(self.opening if self._first else self.between)
        self._file.write(json.dumps(type(self).shape(record), ensure_ascii=False))
        self._first = False

    def close(self) -> None:
        self._file.write(self.closing)
        self._file.close()


class _JsonLines(_Text):
    shape = staticmethod(trl)


class _JsonArray(_Text):
    shape = staticmethod(sharegpt)
    opening, between, closing = "[\n", ",\n", "\n]\n"


class _Csv:
    def __init__(self, path: Path) -> None:
        # With the mark, Excel shows Chinese as Chinese.
        self._file = path.open("w", encoding="utf-8-sig", newline="")
        self._csv = csv.writer(self._file)
        self._first = True

    def write(self, record: Record) -> None:
        if self._first:
            self._csv.writerow(record)
            self._first = False
        self._csv.writerow("" if value is None else guard(str(value)) for value in record.values())

    def close(self) -> None:
        self._file.close()


class _Parquet:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: list[Record] = []
        self._writer: Any = None

    def write(self, record: Record) -> None:
        self._rows.append(record)
        if len(self._rows) == _BATCH:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self._rows:
            names = self._rows[0]
            schema = pa.schema([(name, pa.int8() if name == "label" else pa.string()) for name in names])
            self._writer = self._writer or pq.ParquetWriter(self._path, schema)
            self._writer.write_table(pa.Table.from_pylist(self._rows, schema=schema))
            self._rows = []

    def close(self) -> None:
        self._flush()
        if self._writer is not None:
            self._writer.close()
