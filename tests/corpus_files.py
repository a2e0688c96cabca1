"""Small files for the tests of the corpus, and what an import made of them."""

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import aliased

from backend.db.engine import Database
from backend.db.tables import Dataset, DatasetEntry, Greeting, PreferencePair, Prompt, Rater, Verdict

GOOD = {"query": "给奶奶的生日祝福", "response": "奶奶，生日快乐，长命百岁！", "label": 1}
WEAK = {"query": "给奶奶的生日祝福", "response": "生日快乐。", "label": 0}


def json_lines(path: Path, rows: Iterable[Any], encoding: str = "utf-8") -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding=encoding, newline="")
    return path


def json_array(path: Path, rows: Iterable[Any], indent: int | None = 2) -> Path:
    path.write_text(json.dumps(list(rows), ensure_ascii=False, indent=indent), encoding="utf-8")
    return path


def sheet(path: Path, rows: list[list[Any]], delimiter: str = ",", encoding: str = "utf-8") -> Path:
    with path.open("w", encoding=encoding, newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return path


def workbook(path: Path, rows: list[list[Any]]) -> Path:
    from openpyxl import Workbook

    book = Workbook()
    assert book.active is not None
    for row in rows:
        book.active.append(row)
    book.save(path)
    return path


def parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def prompts(database: Database) -> set[tuple[str, str | None, str | None, str | None]]:
    with database.read() as session:
        query = select(Prompt.text, Prompt.occasion, Prompt.recipient, Prompt.style)
        return {(row[0], row[1], row[2], row[3]) for row in session.execute(query)}


def texts(database: Database) -> set[tuple[str, str]]:
    with database.read() as session:
        query = select(Prompt.text, Greeting.text).join(Prompt, Prompt.id == Greeting.prompt_id)
        return {(row[0], row[1]) for row in session.execute(query)}


def members(database: Database, dataset: str) -> set[tuple[str, str | None]]:
    with database.read() as session:
        query = (
            select(Prompt.text, Greeting.text)
            .select_from(DatasetEntry)
            .join(Dataset, Dataset.id == DatasetEntry.dataset_id)
            .join(Prompt, Prompt.id == DatasetEntry.prompt_id)
            .outerjoin(Greeting, Greeting.id == DatasetEntry.greeting_id)
            .where(Dataset.name == dataset)
        )
        return {(row[0], row[1]) for row in session.execute(query)}


def pairs(database: Database) -> set[tuple[str, str, str, str | None]]:
    chosen, rejected = aliased(Greeting), aliased(Greeting)
    with database.read() as session:
        query = (
            select(Prompt.text, chosen.text, rejected.text, PreferencePair.flaw)
            .join(Prompt, Prompt.id == PreferencePair.prompt_id)
            .join(chosen, chosen.id == PreferencePair.chosen_id)
            .join(rejected, rejected.id == PreferencePair.rejected_id)
        )
        return {(row[0], row[1], row[2], row[3]) for row in session.execute(query)}


def labels(database: Database) -> set[tuple[str, str, float | None, str]]:
    with database.read() as session:
        query = (
            select(Prompt.text, Greeting.text, Verdict.value, Verdict.reason)
            .join(Greeting, Greeting.id == Verdict.greeting_id)
            .join(Prompt, Prompt.id == Greeting.prompt_id)
            .join(Rater, Rater.id == Verdict.rater_id)
        )
        return {(row[0], row[1], row[2], row[3]) for row in session.execute(query)}
