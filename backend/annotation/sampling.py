"""What goes into a campaign: a sample drawn inside the database, ids only, the same for the same seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Select, case, cast, exists, func, null, select
from sqlalchemy.orm import Session

from backend.annotation.desk import current
from backend.db.tables import Dataset, DatasetEntry, PreferencePair, Prompt, Verdict
from backend.errors import UserError
from backend.records import CampaignSpec

Query = Select[*tuple[Any, ...]]

_PRIME = 2_147_483_647
_STRIDE = 48_271


@dataclass(frozen=True)
class Draw:
    """The greetings of one item before A and B are dealt; `key` is its place in the random order."""

    key: int
    prompt_id: int
    first_id: int
    second_id: int | None


def draw_pairs(session: Session, spec: CampaignSpec) -> list[Draw]:
    """One pair a prompt: a stored preference pair, else two greetings of the prompt."""
    stored = _draws(session, _stored_pairs(spec), spec.limit)
    loose = _draws(session, _loose_pairs(spec), spec.limit)
    drawn = sorted([*stored, *loose], key=lambda draw: draw.key)[: spec.limit]
    if not drawn:
        prompts, greetings = _found(session, spec)
        raise UserError(
            f"Nothing to compare: the filter matches {prompts} prompts with {greetings} greetings, none of "
            "them with two; choose other data sets or filters.",
            f"没有可对比的内容：筛选到 {prompts} 个请求、{greetings} 条祝福，但没有同一请求的两条祝福；"
            "请换数据集或筛选条件。",
        )
    return drawn


def draw_across(session: Session, spec: CampaignSpec, datasets: tuple[str, str]) -> list[Draw]:
    """Pairs of one greeting from each of two data sets, for the same prompt; each greeting once."""
    greeting = DatasetEntry.greeting_id
    key = _order(greeting, spec.seed).label("key")
    query = _entries(spec).where(greeting.is_not(None))
    query = query.with_only_columns(Dataset.name, DatasetEntry.prompt_id, greeting, key)
    found: dict[tuple[str, int], list[tuple[int, int]]] = {}
    for name, prompt_id, greeting_id, place in session.execute(query.order_by("key", greeting)):
        found.setdefault((name, prompt_id), []).append((greeting_id, place))
    first, second = datasets
    drawn = [
        Draw(place, prompt_id, mine, other)
        for (name, prompt_id), greetings in found.items()
        if name == first
        for (mine, place), (other, _) in zip(greetings, found.get((second, prompt_id), []), strict=False)
        if mine != other
    ]
    if not drawn:
        raise UserError(
            "The two models have written nothing for the same request yet; let both answer one.",
            "两个模型还没有写过同一个请求，请先让它们一起写。",
        )
    return sorted(drawn, key=lambda draw: draw.key)[: spec.limit]


def draw_greetings(session: Session, spec: CampaignSpec, judge_id: int | None) -> list[Draw]:
    """Single greetings; with a judge only those on which it gave a verdict."""
    greeting = DatasetEntry.greeting_id
    query = _entries(spec).where(greeting.is_not(None))
    if judge_id is not None:
        query = query.where(
            exists().where(
                Verdict.rater_id == judge_id,
                Verdict.greeting_id == greeting,
                Verdict.value.is_not(None),
                Verdict.withdrawn.is_(False),
                current(Verdict),
            )
        )
    unique = query.with_only_columns(
        _order(greeting, spec.seed).label("key"), DatasetEntry.prompt_id, greeting, null()
    ).distinct()
    drawn = _draws(session, unique, spec.limit)
    if not drawn:
        prompts, greetings = _found(session, spec)
        by = "" if judge_id is None else f", none of them judged by “{spec.judge}”"
        vom = "" if judge_id is None else f"，其中没有裁判“{spec.judge}”评过的"
        raise UserError(
            f"Nothing to validate: the filter matches {prompts} prompts with {greetings} greetings{by}; "
            "choose other data sets or filters.",
            f"没有可验证的内容：筛选到 {prompts} 个请求、{greetings} 条祝福{vom}；请换数据集或筛选条件。",
        )
    return drawn


def judged(session: Session, spec: CampaignSpec, raters: Sequence[int]) -> dict[int, int]:
    """On how many of the greetings that may be drawn each of these raters gave a value; without zeros."""
    greeting = DatasetEntry.greeting_id
    drawable = _entries(spec).where(greeting.is_not(None)).with_only_columns(greeting)
    rows = session.execute(
        select(Verdict.rater_id, func.count(func.distinct(Verdict.greeting_id)))
        .where(
            Verdict.rater_id.in_(raters),
            Verdict.greeting_id.in_(drawable),
            Verdict.value.is_not(None),
            Verdict.withdrawn.is_(False),
            current(Verdict),
        )
        .group_by(Verdict.rater_id)
    )
    return {int(rater_id): int(count) for rater_id, count in rows}


def _draws(session: Session, query: Query, limit: int) -> list[Draw]:
    drawn = query.order_by("key", "prompt_id").limit(limit)
    return [Draw(*row) for row in session.execute(drawn)]


def _stored_pairs(spec: CampaignSpec) -> Query:
    key = _order(PreferencePair.id, spec.seed)
    ranked = _filtered(
        select(
            key.label("key"),
            PreferencePair.prompt_id,
            PreferencePair.chosen_id,
            PreferencePair.rejected_id,
            func.row_number().over(partition_by=PreferencePair.prompt_id, order_by=key).label("rank"),
        )
        .join(Prompt, Prompt.id == PreferencePair.prompt_id)
        .join(Dataset, Dataset.id == PreferencePair.dataset_id),
        spec,
    ).subquery()
    return select(ranked.c.key, ranked.c.prompt_id, ranked.c.chosen_id, ranked.c.rejected_id).where(
        ranked.c.rank == 1
    )


def _loose_pairs(spec: CampaignSpec) -> Query:
    greeting = DatasetEntry.greeting_id
    paired = exists(
        _named(
            select(PreferencePair.id)
            .join(Dataset, Dataset.id == PreferencePair.dataset_id)
            .where(PreferencePair.prompt_id == Prompt.id),
            spec,
        ).correlate(Prompt)
    )
    members = (
        _entries(spec)
        .where(greeting.is_not(None), ~paired)
        .with_only_columns(
            DatasetEntry.prompt_id, greeting.label("greeting_id"), _order(greeting, spec.seed).label("key")
        )
        .distinct()
        .subquery()
    )
    rank = func.row_number().over(
        partition_by=members.c.prompt_id, order_by=(members.c.key, members.c.greeting_id)
    )
    ranked = select(members, rank.label("rank")).subquery()
    first = func.max(case((ranked.c.rank == 1, ranked.c.greeting_id)))
    second = func.max(case((ranked.c.rank == 2, ranked.c.greeting_id)))
    return (
        select(func.min(ranked.c.key).label("key"), ranked.c.prompt_id, first, second)
        .group_by(ranked.c.prompt_id)
        .having(func.count() >= 2)
    )


def _entries(spec: CampaignSpec) -> Query:
    return _filtered(
        select(DatasetEntry)
        .join(Prompt, Prompt.id == DatasetEntry.prompt_id)
        .join(Dataset, Dataset.id == DatasetEntry.dataset_id),
        spec,
    )


def _filtered(query: Query, spec: CampaignSpec) -> Query:
    query = _named(query, spec)
    for column, wanted in (
        (Prompt.occasion, spec.occasion),
        (Prompt.recipient, spec.recipient),
        (Prompt.style, spec.style),
    ):
        if wanted:
            query = query.where(column == wanted)
    return query


def _named(query: Query, spec: CampaignSpec) -> Query:
    return query.where(Dataset.name.in_(spec.datasets)) if spec.datasets else query


def _found(session: Session, spec: CampaignSpec) -> tuple[int, int]:
    counts = _entries(spec).with_only_columns(
        func.count(DatasetEntry.prompt_id.distinct()), func.count(DatasetEntry.greeting_id.distinct())
    )
    prompts, greetings = session.execute(counts).one()
    return prompts, greetings


def _order(identity: Any, seed: int) -> ColumnElement[int]:
    # Scatters ids inside the database, the same on every engine: a step modulo a prime, then its square,
    # for a step alone would keep neighbours (the two greetings of a pair) at a fixed distance.
    step = (cast(identity, BigInteger) * _STRIDE + (seed * _STRIDE + 1) % _PRIME) % _PRIME
    key: ColumnElement[int] = step * step % _PRIME
    return key
