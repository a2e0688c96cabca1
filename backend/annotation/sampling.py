"""What goes into a campaign: a sample drawn inside the database, ids only, the same for the same seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Select, case, cast, exists, func, null, select
from sqlalchemy.orm import Session

from backend.annotation.desk import not_superseded
from backend.db.tables import Dataset, DatasetEntry, PreferencePair, Prompt, Verdict
from backend.errors import UserError
from backend.records import CampaignSpec

SelectQuery = Select[*tuple[Any, ...]]

_PRIME = 2_147_483_647
_STRIDE = 48_271


@dataclass(frozen=True)
class ItemDraw:
    """The greetings of one item before A and B are dealt; `key` is its place in the random order."""

    key: int
    prompt_id: int
    first_id: int
    second_id: int | None


def draw_pairs(session: Session, campaign_spec: CampaignSpec) -> list[ItemDraw]:
    """One pair a prompt: a stored preference pair, else two greetings of the prompt."""
    stored_pairs = _read_draws(session, _stored_pairs_query(campaign_spec), campaign_spec.limit)
    loose_pairs = _read_draws(session, _loose_pairs_query(campaign_spec), campaign_spec.limit)
    item_draws = sorted([*stored_pairs, *loose_pairs], key=lambda draw: draw.key)[: campaign_spec.limit]
    if not item_draws:
        prompt_count, greeting_count = _count_matches(session, campaign_spec)
        raise UserError(
            f"Nothing to compare: the filter matches {prompt_count} prompts with {greeting_count} greetings, none of "
            "them with two; choose other data sets or filters.",
            f"没有可对比的内容：筛选到 {prompt_count} 个请求、{greeting_count} 条祝福，但没有同一请求的两条祝福；"
            "请换数据集或筛选条件。",
        )
    return item_draws


def draw_across(session: Session, campaign_spec: CampaignSpec, dataset_pair: tuple[str, str]) -> list[ItemDraw]:
    """Pairs of one greeting from each of two data sets, for the same prompt; each greeting once."""
    greeting_column = DatasetEntry.greeting_id
    order_key = _order_key(greeting_column, campaign_spec.seed).label("key")
    entry_query = _entries_query(campaign_spec).where(greeting_column.is_not(None))
    entry_query = entry_query.with_only_columns(Dataset.name, DatasetEntry.prompt_id, greeting_column, order_key)
    dataset_greetings: dict[tuple[str, int], list[tuple[int, int]]] = {}
    for dataset_name, prompt_id, greeting_id, order_value in session.execute(
        entry_query.order_by("key", greeting_column)
    ):
        dataset_greetings.setdefault((dataset_name, prompt_id), []).append((greeting_id, order_value))
    first_dataset, second_dataset = dataset_pair
    item_draws = [
        ItemDraw(order_value, prompt_id, first_greeting, second_greeting)
        for (dataset_name, prompt_id), prompt_greetings in dataset_greetings.items()
        if dataset_name == first_dataset
        for (first_greeting, order_value), (second_greeting, _) in zip(
            prompt_greetings, dataset_greetings.get((second_dataset, prompt_id), []), strict=False
        )
        if first_greeting != second_greeting
    ]
    if not item_draws:
        raise UserError(
            "The two models have written nothing for the same request yet; let both answer one.",
            "两个模型还没有写过同一个请求，请先让它们一起写。",
        )
    return sorted(item_draws, key=lambda draw: draw.key)[: campaign_spec.limit]


def draw_greetings(session: Session, campaign_spec: CampaignSpec, judge_id: int | None) -> list[ItemDraw]:
    """Single greetings; with a judge only those on which it gave a verdict."""
    greeting_column = DatasetEntry.greeting_id
    entry_query = _entries_query(campaign_spec).where(greeting_column.is_not(None))
    if judge_id is not None:
        entry_query = entry_query.where(
            exists().where(
                Verdict.rater_id == judge_id,
                Verdict.greeting_id == greeting_column,
                Verdict.value.is_not(None),
                Verdict.withdrawn.is_(False),
                not_superseded(Verdict),
            )
        )
    unique_query = entry_query.with_only_columns(
        _order_key(greeting_column, campaign_spec.seed).label("key"),
        DatasetEntry.prompt_id,
        greeting_column,
        null(),
    ).distinct()
    item_draws = _read_draws(session, unique_query, campaign_spec.limit)
    if not item_draws:
        prompt_count, greeting_count = _count_matches(session, campaign_spec)
        judged_en = "" if judge_id is None else f", none of them judged by “{campaign_spec.judge}”"
        judged_zh = "" if judge_id is None else f"，其中没有裁判“{campaign_spec.judge}”评过的"
        raise UserError(
            f"Nothing to validate: the filter matches {prompt_count} prompts with {greeting_count} greetings{judged_en}; "
            "choose other data sets or filters.",
            f"没有可验证的内容：筛选到 {prompt_count} 个请求、{greeting_count} 条祝福{judged_zh}；请换数据集或筛选条件。",
        )
    return item_draws


def count_judged(session: Session, campaign_spec: CampaignSpec, rater_ids: Sequence[int]) -> dict[int, int]:
    """On how many of the greetings that may be drawn each of these raters gave a value; without zeros."""
    greeting_column = DatasetEntry.greeting_id
    drawable_query = (
        _entries_query(campaign_spec).where(greeting_column.is_not(None)).with_only_columns(greeting_column)
    )
    count_rows = session.execute(
        select(Verdict.rater_id, func.count(func.distinct(Verdict.greeting_id)))
        .where(
            Verdict.rater_id.in_(rater_ids),
            Verdict.greeting_id.in_(drawable_query),
            Verdict.value.is_not(None),
            Verdict.withdrawn.is_(False),
            not_superseded(Verdict),
        )
        .group_by(Verdict.rater_id)
    )
    return {int(rater_id): int(verdict_count) for rater_id, verdict_count in count_rows}


def _read_draws(session: Session, draw_query: SelectQuery, max_items: int) -> list[ItemDraw]:
    ordered_query = draw_query.order_by("key", "prompt_id").limit(max_items)
    return [ItemDraw(*draw_row) for draw_row in session.execute(ordered_query)]


def _stored_pairs_query(campaign_spec: CampaignSpec) -> SelectQuery:
    order_key = _order_key(PreferencePair.id, campaign_spec.seed)
    ranked_pairs = _apply_filters(
        select(
            order_key.label("key"),
            PreferencePair.prompt_id,
            PreferencePair.chosen_id,
            PreferencePair.rejected_id,
            func.row_number().over(partition_by=PreferencePair.prompt_id, order_by=order_key).label("rank"),
        )
        .join(Prompt, Prompt.id == PreferencePair.prompt_id)
        .join(Dataset, Dataset.id == PreferencePair.dataset_id),
        campaign_spec,
    ).subquery()
    return select(
        ranked_pairs.c.key, ranked_pairs.c.prompt_id, ranked_pairs.c.chosen_id, ranked_pairs.c.rejected_id
    ).where(ranked_pairs.c.rank == 1)


def _loose_pairs_query(campaign_spec: CampaignSpec) -> SelectQuery:
    greeting_column = DatasetEntry.greeting_id
    has_pair = exists(
        _filter_datasets(
            select(PreferencePair.id)
            .join(Dataset, Dataset.id == PreferencePair.dataset_id)
            .where(PreferencePair.prompt_id == Prompt.id),
            campaign_spec,
        ).correlate(Prompt)
    )
    candidates = (
        _entries_query(campaign_spec)
        .where(greeting_column.is_not(None), ~has_pair)
        .with_only_columns(
            DatasetEntry.prompt_id,
            greeting_column.label("greeting_id"),
            _order_key(greeting_column, campaign_spec.seed).label("key"),
        )
        .distinct()
        .subquery()
    )
    greeting_rank = func.row_number().over(
        partition_by=candidates.c.prompt_id, order_by=(candidates.c.key, candidates.c.greeting_id)
    )
    ranked_greetings = select(candidates, greeting_rank.label("rank")).subquery()
    first_greeting = func.max(case((ranked_greetings.c.rank == 1, ranked_greetings.c.greeting_id)))
    second_greeting = func.max(case((ranked_greetings.c.rank == 2, ranked_greetings.c.greeting_id)))
    return (
        select(
            func.min(ranked_greetings.c.key).label("key"),
            ranked_greetings.c.prompt_id,
            first_greeting,
            second_greeting,
        )
        .group_by(ranked_greetings.c.prompt_id)
        .having(func.count() >= 2)
    )


def _entries_query(campaign_spec: CampaignSpec) -> SelectQuery:
    return _apply_filters(
        select(DatasetEntry)
        .join(Prompt, Prompt.id == DatasetEntry.prompt_id)
        .join(Dataset, Dataset.id == DatasetEntry.dataset_id),
        campaign_spec,
    )


def _apply_filters(entry_query: SelectQuery, campaign_spec: CampaignSpec) -> SelectQuery:
    entry_query = _filter_datasets(entry_query, campaign_spec)
    for prompt_column, wanted_text in (
        (Prompt.occasion, campaign_spec.occasion),
        (Prompt.recipient, campaign_spec.recipient),
        (Prompt.style, campaign_spec.style),
    ):
        if wanted_text:
            entry_query = entry_query.where(prompt_column == wanted_text)
    return entry_query


def _filter_datasets(entry_query: SelectQuery, campaign_spec: CampaignSpec) -> SelectQuery:
    return entry_query.where(Dataset.name.in_(campaign_spec.datasets)) if campaign_spec.datasets else entry_query


def _count_matches(session: Session, campaign_spec: CampaignSpec) -> tuple[int, int]:
    count_query = _entries_query(campaign_spec).with_only_columns(
        func.count(DatasetEntry.prompt_id.distinct()), func.count(DatasetEntry.greeting_id.distinct())
    )
    prompt_count, greeting_count = session.execute(count_query).one()
    return prompt_count, greeting_count


def _order_key(id_column: Any, seed: int) -> ColumnElement[int]:
    # Scatters ids inside the database, the same on every engine: a step modulo a prime, then its square,
    # for a step alone would keep neighbours (the two greetings of a pair) at a fixed distance.
    scattered = (cast(id_column, BigInteger) * _STRIDE + (seed * _STRIDE + 1) % _PRIME) % _PRIME
    order_value: ColumnElement[int] = scattered * scattered % _PRIME
    return order_value
