"""A new run: its row, its data set, every line that goes in, and which of them are requests for one greeting."""

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import exists, insert, select, update
from sqlalchemy.orm import Session

from backend.core.errors import Message, UserError
from backend.core.stored_records import stored_json
from backend.core.text import assign_split, digest, has_control_characters, normalize_text, strip_white_space
from backend.corpus.browse import require_dataset_id
from backend.corpus.facts import publish_prompt_ids
from backend.corpus.importing import read_prompts
from backend.db.base import insert_ignore, utc_now
from backend.db.engine import Database
from backend.db.pair_tables import PairRun, RunPrompt
from backend.db.publication import SHOW_UNPUBLISHED
from backend.db.tables import Dataset, DatasetEntry, Prompt
from backend.generation.near_duplicates import PROMPT_RULE, NearDuplicateIndex
from backend.generation.request import parse_request
from backend.judges.registry import judge_prompt_hashes
from backend.preferences.candidates import DUPLICATE, NEAR_DUPLICATE, UNREADABLE, prompt_drop_reason, writing_template
from backend.preferences.records import PairRequest, PromptSource, SourceKind

# Lines of one transaction: short enough that annotations come in between.
PAGE = 1_000


class PromptFilter:
    """Reads lines in order and remembers what it kept, so that of two alike the second is dropped."""

    def __init__(self) -> None:
        self._fingerprints: set[bytes] = set()
        self._near_duplicates = NearDuplicateIndex(PROMPT_RULE)

    def remember(self, prompt_text: str) -> None:
        """Take note of a request that was kept before."""
        self._fingerprints.add(_text_fingerprint(prompt_text))
        self._near_duplicates.add_if_new(prompt_text)

    def drop_reason(self, prompt_text: str) -> str | None:
        """Why the line is dropped, one of the stored reasons; None where it is kept, and then remembered."""
        # Cheap to costly: rules of one text, a look into a set, then the index.
        if (drop_reason := prompt_drop_reason(parse_request(prompt_text))) is not None:
            return drop_reason
        if _text_fingerprint(prompt_text) in self._fingerprints:
            return DUPLICATE
        if self._near_duplicates.add_if_new(prompt_text) is not None:
            return NEAR_DUPLICATE
        self._fingerprints.add(_text_fingerprint(prompt_text))
        return None


def filter_prompts(database: Database, run_id: int, after_page: Callable[[], None] = lambda: None) -> None:
    """Look at every line that nobody has looked at; a run that was killed here goes on where it was.

    `after_page` is called after every page, and may end it by raising.
    """
    # What an earlier attempt let through is met again first, or a duplicate of it would pass now.
    prompt_filter = PromptFilter()
    with database.read() as session:
        passed_texts = select(RunPrompt.text).where(RunPrompt.run_id == run_id, RunPrompt.prompt_id.is_not(None))
        for prompt_text in session.scalars(passed_texts.order_by(RunPrompt.position).execution_options(yield_per=PAGE)):
            prompt_filter.remember(prompt_text)
    while True:
        with database.read() as session:
            row_page = session.execute(
                select(RunPrompt.id, RunPrompt.text)
                # Neither taken nor dropped: the row itself says how
                # far the filter came, so no cursor can be lost.
                .where(RunPrompt.run_id == run_id, RunPrompt.prompt_id.is_(None), RunPrompt.lost.is_(None))
                .order_by(RunPrompt.position)
                .limit(PAGE)
            ).all()
        if not row_page:
            return
        decisions = [
            (prompt_row.id, prompt_row.text, prompt_filter.drop_reason(prompt_row.text)) for prompt_row in row_page
        ]
        with database.write() as session:
            _store(session, run_id, decisions)
        after_page()


def _store(session: Session, run_id: int, decisions: Sequence[tuple[int, str, str | None]]) -> None:
    texts_by_hash = {
        digest(prompt_text): prompt_text for _, prompt_text, drop_reason in decisions if drop_reason is None
    }
    insert_ignore(
        session,
        Prompt,
        [_filtered_prompt_row(text_hash, prompt_text) for text_hash, prompt_text in texts_by_hash.items()],
    )
    # Another run or an unfinished import may hold the same text: its row is taken, and made visible.
    prompt_ids = publish_prompt_ids(session, texts_by_hash)
    dataset_id = session.get_one(PairRun, run_id).dataset_id
    dataset_entries = [
        {"dataset_id": dataset_id, "prompt_id": record_id, "greeting_id": None} for record_id in prompt_ids.values()
    ]
    insert_ignore(session, DatasetEntry, dataset_entries)
    prompt_updates = [
        {
            "id": record_id,
            "prompt_id": None if drop_reason else prompt_ids[digest(prompt_text)],
            "lost": drop_reason,
            "exact_chars": parse_request(prompt_text).exact_chars,
        }
        for record_id, prompt_text, drop_reason in decisions
    ]
    session.execute(update(RunPrompt), prompt_updates)


def _filtered_prompt_row(text_hash: str, prompt_text: str) -> dict[str, Any]:
    # The split hangs on the text alone: the same request is never in training here and in a test there.
    return {"text": prompt_text, "text_hash": text_hash, "split": assign_split(prompt_text)}


# Twelve bytes stand for a text, to spare memory: of ten million lines two are taken for one with a chance of 2^-50.
def _text_fingerprint(prompt_text: str) -> bytes:
    return bytes.fromhex(digest(strip_white_space(prompt_text))[:24])


# Lines read ahead and stored in one transaction.
CHUNK = 1_000
# The campaign of a run is named after it, with a few characters more.
LONGEST_NAME = 50
DATASET_KIND = "pairs"
SourceLine = str | Message


def source_named(file_or_dataset: str, max_prompts: int | None = None) -> PromptSource:
    """The file of that name, else the data set; `max_prompts` takes the first so many lines."""
    return PromptSource(
        SourceKind.FILE if Path(file_or_dataset).is_file() else SourceKind.DATASET,
        file_or_dataset,
        max_prompts,
    )


def read_source(database: Database, prompt_source: PromptSource) -> Iterator[SourceLine]:
    """The requests of a source one by one; a Message where a line holds none. Raises UserError, NotFound."""
    if prompt_source.kind is SourceKind.FILE:
        source_lines: Iterator[SourceLine] = (source_line for _, source_line in read_prompts(Path(prompt_source.name)))
    else:
        source_lines = _dataset_prompts(database, prompt_source.name)
    return itertools.islice(source_lines, prompt_source.limit)


def create_run(database: Database, request: PairRequest) -> int:
    """Store the run with its lines; its id. Raises UserError for a name that is taken or nothing to read."""
    source_lines = read_source(database, request.source)
    # Read before anything is stored: an unreadable or empty source must leave no run behind.
    first_chunk = list(itertools.islice(source_lines, CHUNK))
    # A full chunk of unreadable lines says nothing about the rest of the file; a short one was all there is.
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
    # Shown with every pair: by which prompt files it came about, however those are changed later.
    prompt_hashes = {"write": writing_template().template_hash}
    for judge_spec in judge_specs:
        prompt_hashes |= judge_prompt_hashes(judge_spec.kind)
    new_run = PairRun(
        name=run_name,
        # With the name that was chosen, so that the stored request reads back as the run is called.
        config=stored_json(request) | {"name": run_name},
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
                # Names of imports that are still hidden count as taken: the column is unique whoever sees it.
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
    # A line that cannot be read keeps its place and its reason: no line of the source goes uncounted.
    return {"run_id": run_id, "position": position, "text": source_line.zh, "lost": UNREADABLE}


def _dataset_prompts(database: Database, dataset_name: str) -> Iterator[str]:
    with database.read() as session:
        source_dataset = require_dataset_id(session, dataset_name)
    # Page by page in transactions of their own: a read that stays open keeps SQLite's log from being cleared.
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
