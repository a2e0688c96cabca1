"""Normal rows into the database: chunk by chunk, idempotent, and never against what is stored.

Every row is a set of facts (this greeting is in the data set, this one is preferred to that one, this one
is good). What the database does not know yet is inserted, what it knows is a duplicate, and what denies a
known fact is refused. Only the facts that a chunk touches are looked up, so memory does not grow.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from backend.corpus import split_of
from backend.corpus.facts import GreetingKey, Keyed, Target, greeting_ids, keyed, known, prompt_ids
from backend.corpus.rows import Row
from backend.db.insert import insert_ignore
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
from backend.errors import Message
from backend.vocabulary import RaterKind, Scale, Source

CHUNK = 1_000


class Outcome(NamedTuple):
    """What became of a chunk."""

    added: int
    duplicate: int
    denied: list[tuple[int, Message]]


def target(session: Session, name: str, kind: str, source: Source, *, labelled: bool) -> Target:
    """The data set called `name` (and the rater its labels belong to), made where it is new."""
    dataset = session.scalar(select(Dataset).where(Dataset.name == name))
    if dataset is None:
        dataset = Dataset(name=name, kind=kind)
        session.add(dataset)
    rater = rater_of(session, name)
    if rater is None and labelled:
        rater = Rater(kind=RaterKind.DATASET, name=name, version="", config={})
        session.add(rater)
    session.flush()
    origin = "seed" if kind == "seed" else "import"
    return Target(dataset.id, rater.id if rater else None, source, origin)


def rater_of(session: Session, dataset: str) -> Rater | None:
    """The rater whose verdicts are the labels of the data set; None where it has none."""
    return session.scalar(
        select(Rater).where(Rater.kind == RaterKind.DATASET, Rater.name == dataset, Rater.version == "")
    )


def store(session: Session, target: Target, rows: Sequence[Row]) -> Outcome:
    """Insert a chunk's new facts."""
    items = [keyed(row) for row in rows]
    facts = known(session, target, items)
    fresh: list[Keyed] = []
    denied: list[tuple[int, Message]] = []
    for item in items:
        if (why := facts.denied_by(item)) is not None:
            denied.append((item.row.line, why))
        elif facts.learn(item):
            fresh.append(item)
    _insert(session, target, fresh)
    _count_clicks(session, target, [item for item in items if item.row.clicks is not None])
    return Outcome(len(fresh), len(rows) - len(fresh) - len(denied), denied)


def _insert(session: Session, target: Target, items: Sequence[Keyed]) -> None:
    insert_ignore(session, Prompt, [_prompt_values(item) for item in items])
    _tag(session, items)
    prompts = prompt_ids(session, {item.prompt for item in items})
    insert_ignore(session, Greeting, list(_greeting_values(target, items, prompts)))
    greetings = greeting_ids(session, prompts, {key for item in items for key in item.greetings})
    entries = [(item.prompt, key) for item in items for key in item.greetings or (None,)]
    insert_ignore(
        session,
        DatasetEntry,
        [
            {
                "dataset_id": target.dataset,
                "prompt_id": prompts[prompt],
                "greeting_id": greetings[key] if key else None,
            }
            for prompt, key in entries
        ],
    )
    insert_ignore(session, PreferencePair, list(_pair_values(target, items, prompts, greetings)))
    insert_ignore(session, Verdict, list(_verdict_values(target, items, greetings)))


def _prompt_values(item: Keyed) -> dict[str, Any]:
    occasion, recipient, style = item.row.tags
    return {
        "text": item.row.prompt,
        "text_hash": item.prompt,
        "occasion": occasion,
        "recipient": recipient,
        "style": style,
        "split": split_of(item.row.prompt),
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
            }


def _count_clicks(session: Session, target: Target, items: Sequence[Keyed]) -> None:
    """Keep what is told of clicks, the higher count where there is one: clicks only grow."""
    if not items:
        return
    prompts = prompt_ids(session, {item.prompt for item in items})
    ids = greeting_ids(session, prompts, {item.greetings[0] for item in items if item.prompt in prompts})
    told: dict[int, int] = {}
    for item in items:
        if (id_ := ids.get(item.greetings[0])) is not None:
            told[id_] = max(told.get(id_, 0), item.row.clicks or 0)
    rows = [
        {"dataset_id": target.dataset, "greeting_id": id_, "clicks": clicks} for id_, clicks in told.items()
    ]
    insert_ignore(session, ClickCount, rows)
    for id_, clicks in told.items():
        session.execute(
            update(ClickCount)
            .where(
                ClickCount.dataset_id == target.dataset,
                ClickCount.greeting_id == id_,
                ClickCount.clicks < clicks,
            )
            .values(clicks=clicks)
            .execution_options(synchronize_session=False)
        )


def _tag(session: Session, items: Sequence[Keyed]) -> None:
    """Give tags to prompts that were stored without, as when their text came from a plain list first."""
    for column in ("occasion", "recipient", "style"):
        place = ("occasion", "recipient", "style").index(column)
        by_tag: dict[str, set[str]] = {}
        for item in items:
            if tag := item.row.tags[place]:
                by_tag.setdefault(tag, set()).add(item.prompt)
        for tag, hashes in by_tag.items():
            session.execute(
                update(Prompt)
                .where(Prompt.text_hash.in_(hashes), getattr(Prompt, column).is_(None))
                .values({column: tag})
                .execution_options(synchronize_session=False)
            )
