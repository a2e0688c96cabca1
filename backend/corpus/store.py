"""Normal rows into the database: chunk by chunk, idempotent, and never against what is stored.

Every row is a set of facts (this greeting is in the data set, this one is preferred to that one, this one
is good). What the database does not know yet is inserted, what it knows is a duplicate, and what denies a
known fact is refused. Only the facts that a chunk touches are looked up, so memory does not grow.

A chunk goes in either within the caller's transaction (`store`), or, for a large import whose rows nobody
sees yet (`store_unpublished`), in several short ones with all looking-up between them: others get to write.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase, Session

from backend.corpus import assign_split
from backend.corpus.changes import raise_clicks, raise_or_note_clicks, tag_or_note_prompts, tag_prompts
from backend.corpus.facts import (
    ChunkFacts,
    GreetingKey,
    HashedRow,
    ImportTarget,
    hash_row,
    load_facts,
    publish_greeting_ids,
    publish_prompt_ids,
)
from backend.corpus.rows import ImportRow
from backend.db.base import utc_now
from backend.db.engine import Database
from backend.db.import_tables import Import
from backend.db.publication import read_with_unpublished
from backend.db.tables import (
    ClickCount,
    Dataset,
    DatasetEntry,
    Greeting,
    PreferencePair,
    Prompt,
    Rater,
    Verdict,
)
from backend.errors import Conflict, Message
from backend.vocabulary import RaterKind, Scale, Source

CHUNK_ROWS = 1_000
_BATCH_ROWS = 500
"""Rows of one table that go in together: some 10 to 40 ms under SQLite's write lock."""

TransactionFactory = Callable[[], AbstractContextManager[Session]]


class ChunkOutcome(NamedTuple):
    """What became of a chunk."""

    added: int
    duplicate: int
    denied: list[tuple[int, Message]]


class ImportUnderWay(Conflict):
    """A large import into the same data set has not ended yet; nothing was stored."""


def prepare_target(
    session: Session,
    dataset_name: str,
    dataset_kind: str,
    source: Source,
    *,
    labelled: bool,
    import_id: int | None = None,
) -> ImportTarget:
    """The data set called `name` (and the rater its labels belong to), made where it is new.

    Raises ImportUnderWay where another import into it has not ended.
    """
    _refuse_second_import(session, dataset_name, import_id)
    dataset_row = session.scalar(select(Dataset).where(Dataset.name == dataset_name))
    if dataset_row is None:
        dataset_row = Dataset(name=dataset_name, kind=dataset_kind, import_id=import_id)
        session.add(dataset_row)
    dataset_rater = find_dataset_rater(session, dataset_name)
    if dataset_rater is None and labelled:
        dataset_rater = Rater(kind=RaterKind.DATASET, name=dataset_name, version="", config={}, import_id=import_id)
        session.add(dataset_rater)
    session.flush()
    origin = "seed" if dataset_kind == "seed" else "import"
    return ImportTarget(dataset_row.id, dataset_rater.id if dataset_rater else None, source, origin, import_id)


def _refuse_second_import(session: Session, dataset_name: str, import_id: int | None) -> None:
    unfinished = select(Import.id).where(Import.dataset == dataset_name, Import.finished_at.is_(None))
    if any(other_id != import_id for other_id in session.scalars(unfinished)):
        raise ImportUnderWay(
            f"An import into “{dataset_name}” is under way; try again when it has ended.",
            f"正在向“{dataset_name}”导入数据，请等它结束后再试。",
        )


def find_dataset_rater(session: Session, dataset_name: str) -> Rater | None:
    """The rater whose verdicts are the labels of the data set; None where it has none."""
    return session.scalar(
        select(Rater).where(Rater.kind == RaterKind.DATASET, Rater.name == dataset_name, Rater.version == "")
    )


def store_chunk(session: Session, target: ImportTarget, rows: Sequence[ImportRow]) -> ChunkOutcome:
    """Insert a chunk's new facts, all within the session's transaction."""
    return _store_chunk(target, rows, lambda: nullcontext(session), lambda: nullcontext(session))


def store_unpublished(
    database: Database, writing: TransactionFactory, target: ImportTarget, rows: Sequence[ImportRow]
) -> ChunkOutcome:
    """Insert a chunk's new facts in short transactions; `target.import_id` hides them.

    `writing` opens each of them. Nobody else may store into the data set meanwhile.
    """
    return _store_chunk(target, rows, lambda: read_with_unpublished(database), writing)


def _store_chunk(
    target: ImportTarget, rows: Sequence[ImportRow], reading: TransactionFactory, writing: TransactionFactory
) -> ChunkOutcome:
    hashed_rows = [hash_row(row) for row in rows]
    with reading() as session:
        facts = load_facts(session, target, hashed_rows)
    fresh, denied = _split_by_facts(facts, hashed_rows)
    clicked = [hashed for hashed in hashed_rows if hashed.row.clicks is not None]
    if fresh or clicked:
        _insert_facts(target, fresh, clicked, reading, writing)
    return ChunkOutcome(len(fresh), len(rows) - len(fresh) - len(denied), denied)


def _split_by_facts(
    facts: ChunkFacts, hashed_rows: Sequence[HashedRow]
) -> tuple[list[HashedRow], list[tuple[int, Message]]]:
    """The rows that say something new, and those that deny what is known, with the reason."""
    fresh: list[HashedRow] = []
    denied: list[tuple[int, Message]] = []
    for hashed in hashed_rows:
        if (objection := facts.contradiction_of(hashed)) is not None:
            denied.append((hashed.row.line, objection))
        elif facts.learn(hashed):
            fresh.append(hashed)
    return fresh, denied


def _insert_facts(
    target: ImportTarget,
    fresh: Sequence[HashedRow],
    clicked: Sequence[HashedRow],
    reading: TransactionFactory,
    writing: TransactionFactory,
) -> None:
    stored = [*fresh, *clicked]
    # Rows often share a prompt; the first of them brings it, as it would in the database.
    new_prompts = {hashed.prompt_hash: _prompt_columns(target, hashed) for hashed in reversed(fresh)}
    _insert_batches(writing, Prompt, list(reversed(new_prompts.values())))
    if tagged_prompts := [(hashed.prompt_hash, hashed.row.tags) for hashed in fresh if any(hashed.row.tags)]:
        with writing() as session:
            if target.import_id is None:
                tag_prompts(session, tagged_prompts)
            else:
                tag_or_note_prompts(session, target.import_id, tagged_prompts)
    with reading() as session:
        prompt_ids = publish_prompt_ids(session, {hashed.prompt_hash for hashed in stored})
    new_greetings = list(_greeting_columns(target, fresh, prompt_ids))
    _insert_batches(writing, Greeting, new_greetings)
    with reading() as session:
        greeting_keys = {
            greeting_key for hashed in stored for greeting_key in hashed.greeting_keys if greeting_key[0] in prompt_ids
        }
        greeting_ids = publish_greeting_ids(session, prompt_ids, greeting_keys)
    for table, columns in (
        (DatasetEntry, list(_entry_columns(target, fresh, prompt_ids, greeting_ids))),
        (PreferencePair, list(_pair_columns(target, fresh, prompt_ids, greeting_ids))),
        (Verdict, list(_verdict_columns(target, fresh, greeting_ids))),
    ):
        _insert_batches(writing, table, columns)
    if clicked:
        with writing() as session:
            _store_clicks(session, target, clicked, greeting_ids)


def _insert_batches(writing: TransactionFactory, table: type[DeclarativeBase], rows: Sequence[dict[str, Any]]) -> None:
    batch_size = CHUNK_ROWS if table is DatasetEntry else _BATCH_ROWS  # numbers alone are quicker than texts
    for start in range(0, len(rows), batch_size):
        with writing() as session:
            _insert_rows(session, table, rows[start : start + batch_size])


def _insert_rows(session: Session, table: type[DeclarativeBase], rows: Sequence[dict[str, Any]]) -> None:
    """Insert the rows; one that breaks a unique constraint is passed over. All have the same keys."""
    if not rows:
        return
    dialect = session.get_bind().dialect.name
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    # On the table itself: the mapped class costs five times what the database needs, under its lock.
    bare_table: Any = table.__table__
    session.execute(insert(bare_table).on_conflict_do_nothing(), list(rows))


def _prompt_columns(target: ImportTarget, hashed: HashedRow) -> dict[str, Any]:
    occasion, recipient, style = hashed.row.tags
    return {
        "text": hashed.row.prompt,
        "text_hash": hashed.prompt_hash,
        "occasion": occasion,
        "recipient": recipient,
        "style": style,
        "split": assign_split(hashed.row.prompt),
        "created_at": utc_now(),
        "import_id": target.import_id,
    }


def _greeting_columns(
    target: ImportTarget, hashed_rows: Sequence[HashedRow], prompt_ids: dict[str, int]
) -> Iterable[dict[str, Any]]:
    for hashed in hashed_rows:
        for text, (_, text_hash) in zip(hashed.row.greetings, hashed.greeting_keys, strict=True):
            yield {
                "prompt_id": prompt_ids[hashed.prompt_hash],
                "text": text,
                "text_hash": text_hash,
                "source": target.source,
                "created_at": utc_now(),
                "import_id": target.import_id,
            }


def _entry_columns(
    target: ImportTarget,
    hashed_rows: Sequence[HashedRow],
    prompt_ids: dict[str, int],
    greeting_ids: dict[GreetingKey, int],
) -> Iterable[dict[str, Any]]:
    for hashed in hashed_rows:
        for greeting_key in hashed.greeting_keys or (None,):
            yield {
                "dataset_id": target.dataset_id,
                "prompt_id": prompt_ids[hashed.prompt_hash],
                "greeting_id": greeting_ids[greeting_key] if greeting_key else None,
                "import_id": target.import_id,
            }


def _pair_columns(
    target: ImportTarget,
    hashed_rows: Sequence[HashedRow],
    prompt_ids: dict[str, int],
    greeting_ids: dict[GreetingKey, int],
) -> Iterable[dict[str, Any]]:
    for hashed in hashed_rows:
        if hashed.row.pair:
            yield {
                "dataset_id": target.dataset_id,
                "prompt_id": prompt_ids[hashed.prompt_hash],
                "chosen_id": greeting_ids[hashed.greeting_keys[0]],
                "rejected_id": greeting_ids[hashed.greeting_keys[1]],
                "origin": target.origin,
                "flaw": hashed.row.flaw,
                "created_at": utc_now(),
                "import_id": target.import_id,
            }


def _verdict_columns(
    target: ImportTarget, hashed_rows: Sequence[HashedRow], greeting_ids: dict[GreetingKey, int]
) -> Iterable[dict[str, Any]]:
    for hashed in hashed_rows:
        for greeting_key, row_label in zip(hashed.greeting_keys, hashed.row.labels, strict=False):
            yield {
                "rater_id": target.rater_id,
                "greeting_id": greeting_ids[greeting_key],
                "value": float(row_label),
                "scale": Scale.BINARY,
                "reason": hashed.row.reason or (hashed.row.flaw or "" if row_label == 0 else ""),
                "created_at": utc_now(),
                "import_id": target.import_id,
            }


def _store_clicks(
    session: Session,
    target: ImportTarget,
    hashed_rows: Sequence[HashedRow],
    greeting_ids: dict[GreetingKey, int],
) -> None:
    """Keep what is told of clicks, the higher count where there is one: clicks only grow."""
    click_counts: dict[int, int] = {}
    for hashed in hashed_rows:
        if (greeting_id := greeting_ids.get(hashed.greeting_keys[0])) is not None:
            click_counts[greeting_id] = max(click_counts.get(greeting_id, 0), hashed.row.clicks or 0)
    shared_columns = {"dataset_id": target.dataset_id, "import_id": target.import_id}
    _insert_rows(
        session,
        ClickCount,
        [
            {"greeting_id": greeting_id, "clicks": click_count, **shared_columns}
            for greeting_id, click_count in click_counts.items()
        ],
    )
    if target.import_id is None:
        raise_clicks(session, target.dataset_id, click_counts)
    else:
        raise_or_note_clicks(session, target.import_id, target.dataset_id, click_counts)
