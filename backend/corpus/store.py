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

from backend.corpus import split_of
from backend.corpus.changes import note_clicks, note_tags, raise_clicks, tag_prompts
from backend.corpus.facts import (
    Facts,
    GreetingKey,
    Keyed,
    Target,
    keyed,
    known,
    stored_greeting_ids,
    stored_prompt_ids,
)
from backend.corpus.rows import Row
from backend.db.base import now
from backend.db.engine import Database
from backend.db.import_tables import Import
from backend.db.publication import reading_all
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

CHUNK = 1_000
_AT_ONCE = 500
"""Rows of one table that go in together: some 10 to 40 ms under SQLite's write lock."""

Transaction = Callable[[], AbstractContextManager[Session]]


class Outcome(NamedTuple):
    """What became of a chunk."""

    added: int
    duplicate: int
    denied: list[tuple[int, Message]]


class ImportUnderWay(Conflict):
    """A large import into the same data set has not ended yet; nothing was stored."""


def target(
    session: Session, name: str, kind: str, source: Source, *, labelled: bool, import_id: int | None = None
) -> Target:
    """The data set called `name` (and the rater its labels belong to), made where it is new.

    Raises ImportUnderWay where another import into it has not ended.
    """
    _refuse_second(session, name, import_id)
    dataset = session.scalar(select(Dataset).where(Dataset.name == name))
    if dataset is None:
        dataset = Dataset(name=name, kind=kind, import_id=import_id)
        session.add(dataset)
    rater = rater_of(session, name)
    if rater is None and labelled:
        rater = Rater(kind=RaterKind.DATASET, name=name, version="", config={}, import_id=import_id)
        session.add(rater)
    session.flush()
    origin = "seed" if kind == "seed" else "import"
    return Target(dataset.id, rater.id if rater else None, source, origin, import_id)


def _refuse_second(session: Session, name: str, import_id: int | None) -> None:
    others = select(Import.id).where(Import.dataset == name, Import.finished_at.is_(None))
    if any(other != import_id for other in session.scalars(others)):
        raise ImportUnderWay(
            f"An import into “{name}” is under way; try again when it has ended.",
            f"正在向“{name}”导入数据，请等它结束后再试。",
        )


def rater_of(session: Session, dataset: str) -> Rater | None:
    """The rater whose verdicts are the labels of the data set; None where it has none."""
    return session.scalar(
        select(Rater).where(Rater.kind == RaterKind.DATASET, Rater.name == dataset, Rater.version == "")
    )


def store(session: Session, target: Target, rows: Sequence[Row]) -> Outcome:
    """Insert a chunk's new facts, all within the session's transaction."""
    return _store(target, rows, lambda: nullcontext(session), lambda: nullcontext(session))


def store_unpublished(
    database: Database, writing: Transaction, target: Target, rows: Sequence[Row]
) -> Outcome:
    """Insert a chunk's new facts in short transactions; `target.import_id` hides them.

    `writing` opens each of them. Nobody else may store into the data set meanwhile.
    """
    return _store(target, rows, lambda: reading_all(database), writing)


def _store(target: Target, rows: Sequence[Row], reading: Transaction, writing: Transaction) -> Outcome:
    items = [keyed(row) for row in rows]
    with reading() as session:
        facts = known(session, target, items)
    fresh, denied = _sorted(facts, items)
    clicked = [item for item in items if item.row.clicks is not None]
    if fresh or clicked:
        _insert(target, fresh, clicked, reading, writing)
    return Outcome(len(fresh), len(rows) - len(fresh) - len(denied), denied)


def _sorted(facts: Facts, items: Sequence[Keyed]) -> tuple[list[Keyed], list[tuple[int, Message]]]:
    """The rows that say something new, and those that deny what is known, with the reason."""
    fresh: list[Keyed] = []
    denied: list[tuple[int, Message]] = []
    for item in items:
        if (why := facts.denied_by(item)) is not None:
            denied.append((item.row.line, why))
        elif facts.learn(item):
            fresh.append(item)
    return fresh, denied


def _insert(
    target: Target,
    fresh: Sequence[Keyed],
    clicked: Sequence[Keyed],
    reading: Transaction,
    writing: Transaction,
) -> None:
    every = [*fresh, *clicked]
    # Rows often share a prompt; the first of them brings it, as it would in the database.
    new_prompts = {item.prompt: _prompt_values(target, item) for item in reversed(fresh)}
    _add_all(writing, Prompt, list(reversed(new_prompts.values())))
    if tagged := [(item.prompt, item.row.tags) for item in fresh if any(item.row.tags)]:
        with writing() as session:
            if target.import_id is None:
                tag_prompts(session, tagged)
            else:
                note_tags(session, target.import_id, tagged)
    with reading() as session:
        prompts = stored_prompt_ids(session, {item.prompt for item in every})
    new_greetings = list(_greeting_values(target, fresh, prompts))
    _add_all(writing, Greeting, new_greetings)
    with reading() as session:
        keys = {key for item in every for key in item.greetings if key[0] in prompts}
        greetings = stored_greeting_ids(session, prompts, keys)
    for table, values in (
        (DatasetEntry, list(_entry_values(target, fresh, prompts, greetings))),
        (PreferencePair, list(_pair_values(target, fresh, prompts, greetings))),
        (Verdict, list(_verdict_values(target, fresh, greetings))),
    ):
        _add_all(writing, table, values)
    if clicked:
        with writing() as session:
            _count_clicks(session, target, clicked, greetings)


def _add_all(writing: Transaction, table: type[DeclarativeBase], rows: Sequence[dict[str, Any]]) -> None:
    size = CHUNK if table is DatasetEntry else _AT_ONCE  # numbers alone are quicker than texts
    for start in range(0, len(rows), size):
        with writing() as session:
            _add(session, table, rows[start : start + size])


def _add(session: Session, table: type[DeclarativeBase], rows: Sequence[dict[str, Any]]) -> None:
    """Insert the rows; one that breaks a unique constraint is passed over. All have the same keys."""
    if not rows:
        return
    dialect = session.get_bind().dialect.name
    make = postgresql.insert if dialect == "postgresql" else sqlite.insert
    # On the table itself: the mapped class costs five times what the database needs, under its lock.
    bare: Any = table.__table__
    session.execute(make(bare).on_conflict_do_nothing(), list(rows))


def _prompt_values(target: Target, item: Keyed) -> dict[str, Any]:
    occasion, recipient, style = item.row.tags
    return {
        "text": item.row.prompt,
        "text_hash": item.prompt,
        "occasion": occasion,
        "recipient": recipient,
        "style": style,
        "split": split_of(item.row.prompt),
        "created_at": now(),
        "import_id": target.import_id,
    }


def _greeting_values(
    target: Target, items: Sequence[Keyed], prompts: dict[str, int]
) -> Iterable[dict[str, Any]]:
    for item in items:
        for text, (_, hash_) in zip(item.row.greetings, item.greetings, strict=True):
            yield {
                "prompt_id": prompts[item.prompt],
                "text": text,
                "text_hash": hash_,
                "source": target.source,
                "created_at": now(),
                "import_id": target.import_id,
            }


def _entry_values(
    target: Target, items: Sequence[Keyed], prompts: dict[str, int], greetings: dict[GreetingKey, int]
) -> Iterable[dict[str, Any]]:
    for item in items:
        for key in item.greetings or (None,):
            yield {
                "dataset_id": target.dataset,
                "prompt_id": prompts[item.prompt],
                "greeting_id": greetings[key] if key else None,
                "import_id": target.import_id,
            }


def _pair_values(
    target: Target,
    items: Sequence[Keyed],
    prompts: dict[str, int],
    greetings: dict[GreetingKey, int],
) -> Iterable[dict[str, Any]]:
    for item in items:
        if item.row.pair:
            yield {
                "dataset_id": target.dataset,
                "prompt_id": prompts[item.prompt],
                "chosen_id": greetings[item.greetings[0]],
                "rejected_id": greetings[item.greetings[1]],
                "origin": target.origin,
                "flaw": item.row.flaw,
                "created_at": now(),
                "import_id": target.import_id,
            }


def _verdict_values(
    target: Target, items: Sequence[Keyed], greetings: dict[GreetingKey, int]
) -> Iterable[dict[str, Any]]:
    for item in items:
        for key, label in zip(item.greetings, item.row.labels, strict=False):
            yield {
                "rater_id": target.rater,
                "greeting_id": greetings[key],
                "value": float(label),
                "scale": Scale.BINARY,
                "reason": item.row.reason or (item.row.flaw or "" if label == 0 else ""),
                "created_at": now(),
                "import_id": target.import_id,
            }


def _count_clicks(
    session: Session, target: Target, items: Sequence[Keyed], greetings: dict[GreetingKey, int]
) -> None:
    """Keep what is told of clicks, the higher count where there is one: clicks only grow."""
    told: dict[int, int] = {}
    for item in items:
        if (id_ := greetings.get(item.greetings[0])) is not None:
            told[id_] = max(told.get(id_, 0), item.row.clicks or 0)
    shared = {"dataset_id": target.dataset, "import_id": target.import_id}
    _add(
        session,
        ClickCount,
        [{"greeting_id": id_, "clicks": clicks, **shared} for id_, clicks in told.items()],
    )
    if target.import_id is None:
        raise_clicks(session, target.dataset, told)
    else:
        note_clicks(session, target.import_id, target.dataset, told)
