"""Looking at the corpus: data sets, tags, counts and pages of prompts, each with few queries."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Executable, distinct, exists, func, select
from sqlalchemy.orm import Session, aliased

from backend.db.tables import (
    Comparison,
    Dataset,
    DatasetEntry,
    Greeting,
    PreferencePair,
    Prompt,
    Rater,
    Verdict,
)
from backend.errors import NotFound
from backend.records import DatasetInfo, Facets, GreetingRow, Page, PromptRow
from backend.vocabulary import Outcome, RaterKind

SHOWN = 20
"""Greetings shown of one prompt; popular requests have hundreds."""


@dataclass(frozen=True)
class Filter:
    """Which prompts to show."""

    dataset: str | None = None
    occasion: str | None = None
    recipient: str | None = None
    style: str | None = None
    search: str = ""


def current_verdict() -> ColumnElement[bool]:
    """Verdicts that nothing supersedes and nobody withdrew."""
    later = aliased(Verdict)
    return ~exists().where(later.supersedes_id == Verdict.id) & ~Verdict.withdrawn


def current_comparison() -> ColumnElement[bool]:
    """Comparisons that nothing supersedes and nobody withdrew."""
    later = aliased(Comparison)
    return ~exists().where(later.supersedes_id == Comparison.id) & (Comparison.outcome != Outcome.WITHDRAWN)


def dataset_id(session: Session, name: str) -> int:
    """The id of the data set called `name`. Raises NotFound with the names there are."""
    found = session.scalar(select(Dataset.id).where(Dataset.name == name))
    if found is None:
        names = ", ".join(session.scalars(select(Dataset.name).order_by(Dataset.id.desc()).limit(20))) or "–"
        raise NotFound(
            f"There is no data set called {name!r}; there are: {names}.",
            f"没有名为“{name}”的数据集，现有：{names}。",
        )
    return found


def datasets(session: Session) -> list[DatasetInfo]:
    """Every data set, the newest first."""
    texts = {
        row[0]: (row[1], row[2])
        for row in session.execute(
            select(
                DatasetEntry.dataset_id,
                func.count(distinct(DatasetEntry.prompt_id)),
                func.count(DatasetEntry.greeting_id),
            ).group_by(DatasetEntry.dataset_id)
        )
    }
    pairs = _by(session, select(PreferencePair.dataset_id, func.count()).group_by(PreferencePair.dataset_id))
    labels = _by(
        session,
        select(Rater.name, func.count())
        .join(Verdict, Verdict.rater_id == Rater.id)
        .where(Rater.kind == RaterKind.DATASET, Verdict.value.is_not(None), current_verdict())
        .group_by(Rater.name),
    )
    return [
        DatasetInfo(
            id=each.id,
            name=each.name,
            kind=each.kind,
            prompts=texts.get(each.id, (0, 0))[0],
            greetings=texts.get(each.id, (0, 0))[1],
            pairs=pairs.get(each.id, 0),
            labels=labels.get(each.name, 0),
            created_at=each.created_at,
        )
        for each in session.scalars(select(Dataset).order_by(Dataset.id.desc()))
    ]


def _by(session: Session, query: Executable) -> dict[Any, int]:
    return {row[0]: row[1] for row in session.execute(query)}


def facets(session: Session, dataset: str | None = None) -> Facets:
    """Tags of the prompts (of one data set), the commonest first."""

    def counted(column: Any) -> dict[str, int]:
        query = select(column, func.count()).where(column.is_not(None)).group_by(column)
        if dataset is not None:
            query = query.where(_in_dataset(dataset_id(session, dataset)))
        return _by(session, query.order_by(func.count().desc(), column))

    return Facets(counted(Prompt.occasion), counted(Prompt.recipient), counted(Prompt.style))


def _in_dataset(id_: int) -> ColumnElement[bool]:
    return Prompt.id.in_(select(DatasetEntry.prompt_id).where(DatasetEntry.dataset_id == id_))


def counts(session: Session) -> dict[str, int]:
    """How much there is of everything; labels are the current verdicts of people and data sets."""
    tables = {"prompts": Prompt, "greetings": Greeting, "pairs": PreferencePair, "datasets": Dataset}
    found = {name: session.scalar(select(func.count()).select_from(table)) for name, table in tables.items()}
    verdicts = _by(
        session,
        select(Rater.kind, func.count())
        .join(Verdict, Verdict.rater_id == Rater.id)
        .where(Verdict.value.is_not(None), current_verdict())
        .group_by(Rater.kind),
    )
    found["labels"] = verdicts.get(RaterKind.HUMAN, 0) + verdicts.get(RaterKind.DATASET, 0)
    found["comparisons"] = session.scalar(
        select(func.count(Comparison.id))
        .join(Rater, Rater.id == Comparison.rater_id)
        .where(Rater.kind == RaterKind.HUMAN, current_comparison())
    )
    found["verdicts"] = sum(verdicts.values())
    return {name: count or 0 for name, count in found.items()}


def browse(session: Session, wish: Filter, page: int = 0, size: int = 50) -> Page:
    """One page of prompts with their greetings, in the order they came."""
    dataset = dataset_id(session, wish.dataset) if wish.dataset else None
    conditions = _conditions(wish, dataset)
    total = session.scalar(select(func.count()).select_from(Prompt).where(*conditions)) or 0
    prompts = session.scalars(
        select(Prompt).where(*conditions).order_by(Prompt.id).offset(max(page, 0) * size).limit(size)
    ).all()
    ids = [prompt.id for prompt in prompts]
    greetings = _greetings(session, ids, dataset)
    amounts = _by(
        session,
        select(Greeting.prompt_id, func.count())
        .where(*_greetings_of(ids, dataset))
        .group_by(Greeting.prompt_id),
    )
    return Page(
        tuple(_row(prompt, greetings.get(prompt.id, []), amounts.get(prompt.id, 0)) for prompt in prompts),
        total,
    )


def _conditions(wish: Filter, dataset: int | None) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if dataset is not None:
        found.append(_in_dataset(dataset))
    for column, value in (
        (Prompt.occasion, wish.occasion),
        (Prompt.recipient, wish.recipient),
        (Prompt.style, wish.style),
    ):
        if value:
            found.append(column == value)
    if words := wish.search.strip():
        # A set rather than a correlated EXISTS: greetings are scanned once, not once a prompt.
        inside = select(Greeting.prompt_id).where(Greeting.text.contains(words, autoescape=True))
        found.append(Prompt.text.contains(words, autoescape=True) | Prompt.id.in_(inside))
    return found


def _greetings_of(prompts: list[int], dataset: int | None) -> list[ColumnElement[bool]]:
    if dataset is None:
        return [Greeting.prompt_id.in_(prompts)]
    members = select(DatasetEntry.greeting_id).where(
        DatasetEntry.dataset_id == dataset,
        DatasetEntry.prompt_id.in_(prompts),
        DatasetEntry.greeting_id.is_not(None),
    )
    return [Greeting.id.in_(members)]


def _greetings(session: Session, prompts: list[int], dataset: int | None) -> dict[int, list[GreetingRow]]:
    place = func.row_number().over(partition_by=Greeting.prompt_id, order_by=Greeting.id).label("place")
    ranked = (
        select(Greeting.id, Greeting.prompt_id, Greeting.text, Greeting.source, place)
        .where(*_greetings_of(prompts, dataset))
        .subquery()
    )
    rows = session.execute(select(ranked).where(ranked.c.place <= SHOWN).order_by(ranked.c.id)).all()
    labels = _labels(session, [row.id for row in rows], dataset)
    found: dict[int, list[GreetingRow]] = {}
    for row in rows:
        value, reason = labels.get(row.id, (None, ""))
        found.setdefault(row.prompt_id, []).append(
            GreetingRow(row.id, row.text, row.source.value, value, reason)
        )
    return found


def _labels(
    session: Session, greetings: list[int], dataset: int | None
) -> dict[int, tuple[float | None, str]]:
    """What data sets say of the greetings; of several the newest."""
    query = (
        select(Verdict.greeting_id, Verdict.value, Verdict.reason)
        .join(Rater, Rater.id == Verdict.rater_id)
        .where(Rater.kind == RaterKind.DATASET, Verdict.greeting_id.in_(greetings), current_verdict())
        .order_by(Verdict.id)
    )
    if dataset is not None:
        query = query.where(Rater.name == select(Dataset.name).where(Dataset.id == dataset).scalar_subquery())
    return {greeting: (value, reason) for greeting, value, reason in session.execute(query)}


def _row(prompt: Prompt, greetings: list[GreetingRow], amount: int) -> PromptRow:
    return PromptRow(
        id=prompt.id,
        text=prompt.text,
        occasion=prompt.occasion,
        recipient=prompt.recipient,
        style=prompt.style,
        split=prompt.split.value,
        greetings=tuple(greetings),
        greeting_count=amount,
    )
