"""A new run: its row, its data set, and every line that goes in, as it was found."""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import exists, insert, select
from sqlalchemy.orm import Session

from backend.agents.writing import template
from backend.corpus.browse import dataset_id
from backend.corpus.importing import read_prompts
from backend.db.base import now
from backend.db.engine import Database
from backend.db.pair_tables import PairRun, RunPrompt
from backend.db.publication import UNPUBLISHED
from backend.db.tables import Dataset, DatasetEntry, Prompt
from backend.errors import Message, UserError
from backend.judges.registry import prompts_of
from backend.pairs.records import PairRequest, Source, SourceKind
from backend.pairs.rules import UNREADABLE
from backend.text import clean, has_control

CHUNK = 1_000
LONGEST_NAME = 50
"""The campaign of a run is named after it, with a few characters more."""
KIND = "pairs"
Line = str | Message


def source_of(given: str, limit: int | None = None) -> Source:
    """The file of that name, else the data set."""
    return Source(SourceKind.FILE if Path(given).is_file() else SourceKind.DATASET, given, limit)


def lines_of(database: Database, source: Source) -> Iterator[Line]:
    """The requests of a source one by one, and why a line holds none. Raises UserError, NotFound."""
    if source.kind is SourceKind.FILE:
        found: Iterator[Line] = (value for _, value in read_prompts(Path(source.name)))
    else:
        found = _of_dataset(database, source.name)
    return itertools.islice(found, source.limit)


def open_run(database: Database, request: PairRequest) -> int:
    """Store the run with its lines; its id. Raises UserError for a name that is taken or nothing to read."""
    lines = lines_of(database, request.source)
    first = list(itertools.islice(lines, CHUNK))
    if not any(isinstance(line, str) for line in first) and len(first) < CHUNK:
        raise UserError(
            f"There is no request in “{request.source.name}”.", f"“{request.source.name}”里没有请求。"
        )
    with database.write() as session:
        run_id = _row(session, request)
    for number, chunk in enumerate(itertools.chain([first], _chunks(lines))):
        rows = [_line(run_id, number * CHUNK + place, line) for place, line in enumerate(chunk)]
        with database.write() as session:
            session.execute(insert(RunPrompt), rows)
    return run_id


def _row(session: Session, request: PairRequest) -> int:
    name = _name(session, request.name)
    dataset = Dataset(name=name, kind=KIND)
    session.add(dataset)
    session.flush()
    judges = [request.judge, *([request.second] if request.second else [])]
    asked = {"write": template().hash}
    for judge in judges:
        asked |= prompts_of(judge.kind)
    run = PairRun(name=name, config=request.plain() | {"name": name}, dataset_id=dataset.id, prompts=asked)
    session.add(run)
    session.flush()
    return run.id


def _name(session: Session, wish: str) -> str:
    name = re.sub(r"\s+", " ", clean(wish))
    if not name:
        stem = f"pairs-{now():%Y%m%d}"
        taken = set(
            session.scalars(
                select(Dataset.name).where(Dataset.name.startswith(stem)).execution_options(**UNPUBLISHED)
            )
        )
        return next(one for n in itertools.count(1) if (one := f"{stem}-{n}") not in taken)
    if len(name) > LONGEST_NAME or has_control(name):
        raise UserError(
            f"The run's name has at most {LONGEST_NAME} printable characters.",
            f"批次名称最多 {LONGEST_NAME} 个可见字符。",
        )
    if session.scalar(select(exists().where(Dataset.name == name)).execution_options(**UNPUBLISHED)):
        raise UserError(
            f"There is a data set named “{name}” already; choose another name for the run.",
            f"已经有名为“{name}”的数据集，请给这批次换一个名字。",
        )
    return name


def _line(run_id: int, position: int, line: Line) -> dict[str, Any]:
    if isinstance(line, str):
        return {"run_id": run_id, "position": position, "text": line, "lost": None}
    return {"run_id": run_id, "position": position, "text": line.zh, "lost": UNREADABLE}


def _of_dataset(database: Database, name: str) -> Iterator[str]:
    with database.read() as session:
        found = dataset_id(session, name)
    after = 0
    while True:
        with database.read() as session:
            page = session.execute(
                select(Prompt.id, Prompt.text)
                .where(
                    Prompt.id > after,
                    exists().where(DatasetEntry.dataset_id == found, DatasetEntry.prompt_id == Prompt.id),
                )
                .order_by(Prompt.id)
                .limit(CHUNK)
            ).all()
        if not page:
            return
        yield from (row.text for row in page)
        after = page[-1].id


def _chunks(lines: Iterator[Line]) -> Iterator[list[Line]]:
    while chunk := list(itertools.islice(lines, CHUNK)):
        yield chunk
