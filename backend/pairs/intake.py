"""A new run: its row, its data set, and every line that goes in, as it was found."""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import exists, insert, select
from sqlalchemy.orm import Session

from backend.agents.writing import writing_template
from backend.corpus.browse import require_dataset_id
from backend.corpus.importing import read_prompts
from backend.db.base import utc_now
from backend.db.engine import Database
from backend.db.pair_tables import PairRun, RunPrompt
from backend.db.publication import SHOW_UNPUBLISHED
from backend.db.tables import Dataset, DatasetEntry, Prompt
from backend.errors import Message, UserError
from backend.judges.registry import judge_prompt_hashes
from backend.pairs.records import PairRequest, PromptSource, SourceKind
from backend.pairs.rules import UNREADABLE
from backend.text import has_control_characters, normalize_text

CHUNK = 1_000
LONGEST_NAME = 50
"""The campaign of a run is named after it, with a few characters more."""
DATASET_KIND = "pairs"
SourceLine = str | Message


def source_named(file_or_dataset: str, max_prompts: int | None = None) -> PromptSource:
    """The file of that name, else the data set."""
    return PromptSource(
        SourceKind.FILE if Path(file_or_dataset).is_file() else SourceKind.DATASET,
        file_or_dataset,
        max_prompts,
    )


def read_source(database: Database, prompt_source: PromptSource) -> Iterator[SourceLine]:
    """The requests of a source one by one, and why a line holds none. Raises UserError, NotFound."""
    if prompt_source.kind is SourceKind.FILE:
        source_lines: Iterator[SourceLine] = (source_line for _, source_line in read_prompts(Path(prompt_source.name)))
    else:
        source_lines = _dataset_prompts(database, prompt_source.name)
    return itertools.islice(source_lines, prompt_source.limit)


def create_run(database: Database, request: PairRequest) -> int:
    """Store the run with its lines; its id. Raises UserError for a name that is taken or nothing to read."""
    source_lines = read_source(database, request.source)
    first_chunk = list(itertools.islice(source_lines, CHUNK))
    if not any(isinstance(source_line, str) for source_line in first_chunk) and len(first_chunk) < CHUNK:
        raise UserError(f"There is no request in “{request.source.name}”.", f"“{request.source.name}”里没有请求。")
    with database.write() as session:
        run_id = _insert_run(session, request)
    for chunk_index, line_chunk in enumerate(itertools.chain([first_chunk], _line_chunks(source_lines))):
        prompt_rows = [
            _prompt_row(run_id, chunk_index * CHUNK + chunk_offset, source_line)
            for chunk_offset, source_line in enumerate(line_chunk)
        ]
        with database.write() as session:
            session.execute(insert(RunPrompt), prompt_rows)
    return run_id


def _insert_run(session: Session, request: PairRequest) -> int:
    run_name = _free_run_name(session, request.name)
    new_dataset = Dataset(name=run_name, kind=DATASET_KIND)
    session.add(new_dataset)
    session.flush()
    judge_specs = [request.judge, *([request.second] if request.second else [])]
    prompt_hashes = {"write": writing_template().template_hash}
    for judge_spec in judge_specs:
        prompt_hashes |= judge_prompt_hashes(judge_spec.kind)
    new_run = PairRun(
        name=run_name,
        config=request.plain() | {"name": run_name},
        dataset_id=new_dataset.id,
        prompts=prompt_hashes,
    )
    session.add(new_run)
    session.flush()
    return new_run.id


def _free_run_name(session: Session, requested_name: str) -> str:
    run_name = re.sub(r"\s+", " ", normalize_text(requested_name))
    if not run_name:
        name_stem = f"pairs-{utc_now():%Y%m%d}"
        taken_names = set(
            session.scalars(
                select(Dataset.name).where(Dataset.name.startswith(name_stem)).execution_options(**SHOW_UNPUBLISHED)
            )
        )
        return next(
            candidate_name
            for name_suffix in itertools.count(1)
            if (candidate_name := f"{name_stem}-{name_suffix}") not in taken_names
        )
    if len(run_name) > LONGEST_NAME or has_control_characters(run_name):
        raise UserError(
            f"The run's name has at most {LONGEST_NAME} printable characters.",
            f"批次名称最多 {LONGEST_NAME} 个可见字符。",
        )
    if session.scalar(select(exists().where(Dataset.name == run_name)).execution_options(**SHOW_UNPUBLISHED)):
        raise UserError(
            f"There is a data set named “{run_name}” already; choose another name for the run.",
            f"已经有名为“{run_name}”的数据集，请给这批次换一个名字。",
        )
    return run_name


def _prompt_row(run_id: int, position: int, source_line: SourceLine) -> dict[str, Any]:
    if isinstance(source_line, str):
        return {"run_id": run_id, "position": position, "text": source_line, "lost": None}
    return {"run_id": run_id, "position": position, "text": source_line.zh, "lost": UNREADABLE}


def _dataset_prompts(database: Database, dataset_name: str) -> Iterator[str]:
    with database.read() as session:
        source_dataset = require_dataset_id(session, dataset_name)
    last_prompt_id = 0
    while True:
        with database.read() as session:
            prompt_page = session.execute(
                select(Prompt.id, Prompt.text)
                .where(
                    Prompt.id > last_prompt_id,
                    exists().where(DatasetEntry.dataset_id == source_dataset, DatasetEntry.prompt_id == Prompt.id),
                )
                .order_by(Prompt.id)
                .limit(CHUNK)
            ).all()
        if not prompt_page:
            return
        yield from (prompt_row.text for prompt_row in prompt_page)
        last_prompt_id = prompt_page[-1].id


def _line_chunks(source_lines: Iterator[SourceLine]) -> Iterator[list[SourceLine]]:
    while line_chunk := list(itertools.islice(source_lines, CHUNK)):
        yield line_chunk
