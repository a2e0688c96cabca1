"""Campaigns: a sample drawn inside the database, the same for the same seed; made, closed, reopened, listed."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Select, case, cast, exists, func, insert, null, select
from sqlalchemy.orm import Session

from backend.annotation.progress import campaign_infos
from backend.annotation.records import CampaignInfo, CampaignSpec
from backend.annotation.session import LabelingSession, check_choice, check_line, check_prose
from backend.core.enums import CampaignKind, RaterKind
from backend.core.errors import UserError
from backend.db.queries import current_rows, current_version, get_or_not_found
from backend.db.tables import Campaign, Dataset, DatasetEntry, Item, PreferencePair, Prompt, Rater, Verdict

SelectQuery = Select[*tuple[Any, ...]]

# Multiplier and modulus of the generator minstd_rand (Park, Miller & Stockmeyer, CACM 36, 1993). The square of a number
# below 2^31 still fits into 64 bits, so that SQLite and PostgreSQL compute the same order.
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
    """One pair a prompt: a stored preference pair, else two greetings of the prompt. Raises UserError for none."""
    # One a prompt and not all: items of one request are alike, so that a second one says less than a new request.
    # Up to the limit from each: which of them come first is known only once both are in one order.
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
    """Pairs of one greeting from each of two data sets, for the same prompt; each greeting once.

    Raises UserError where no prompt has a greeting in both.
    """
    greeting_column = DatasetEntry.greeting_id
    order_key = _order_key(greeting_column, campaign_spec.seed).label("key")
    entry_query = _entries_query(campaign_spec).where(greeting_column.is_not(None))
    entry_query = entry_query.with_only_columns(Dataset.name, DatasetEntry.prompt_id, greeting_column, order_key)
    dataset_greetings: dict[tuple[str, int], list[tuple[int, int]]] = {}
    for dataset_name, prompt_id, greeting_id, order_value in session.execute(
        # The id decides between equal keys, which a generator that squares does give: x and −x have the same
        # square.
        entry_query.order_by("key", greeting_column)
    ):
        dataset_greetings.setdefault((dataset_name, prompt_id), []).append((greeting_id, order_value))
    first_dataset, second_dataset = dataset_pair
    item_draws = [
        ItemDraw(order_value, prompt_id, first_greeting, second_greeting)
        for (dataset_name, prompt_id), prompt_greetings in dataset_greetings.items()
        if dataset_name == first_dataset
        for (first_greeting, order_value), (second_greeting, _) in zip(
            # The shorter list ends the zip, so that no greeting is asked about twice.
            prompt_greetings,
            dataset_greetings.get((second_dataset, prompt_id), []),
            strict=False,
        )
        # Two models may have written the same text, which is one greeting: nobody could prefer it to itself.
        if first_greeting != second_greeting
    ]
    if not item_draws:
        raise UserError(
            "The two models have written nothing for the same request yet; let both answer one.",
            "两个模型还没有写过同一个请求，请先让它们一起写。",
        )
    return sorted(item_draws, key=lambda draw: draw.key)[: campaign_spec.limit]


def draw_greetings(session: Session, campaign_spec: CampaignSpec, judge_id: int | None) -> list[ItemDraw]:
    """Single greetings; with a judge only those on which it gave a verdict. Raises UserError for none."""
    greeting_column = DatasetEntry.greeting_id
    entry_query = _entries_query(campaign_spec).where(greeting_column.is_not(None))
    if judge_id is not None:
        entry_query = entry_query.where(
            exists().where(
                Verdict.rater_id == judge_id,
                Verdict.greeting_id == greeting_column,
                Verdict.value.is_not(None),
                current_rows(Verdict),
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
            f"Nothing to validate: the filter matches {prompt_count} prompts with {greeting_count} greetings"
            f"{judged_en}; choose other data sets or filters.",
            f"没有可验证的内容：筛选到 {prompt_count} 个请求、{greeting_count} 条祝福{judged_zh}；"
            "请换数据集或筛选条件。",
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
            current_rows(Verdict),
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
    # Prompts with a stored pair come from the other query; here they would come twice.
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
    # max() picks the one value that is not null: a pivot that both databases understand.
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


MAX_RATERS_PER_ITEM = 20
# Storing 50,000 items holds the write lock for 0.8 s, so that this many stay below the 2 s that a vote waits.
MAX_ITEMS = 100_000
_MAX_NAME_LENGTH, _MAX_INSTRUCTIONS_LENGTH = 60, 4_000
# Seed × _STRIDE then stays below 2^47, and the column is an INTEGER of 32 bits on PostgreSQL.
_BIGGEST_SEED = 2**31 - 1


def create_campaign(
    labeling_session: LabelingSession,
    campaign_spec: CampaignSpec,
    dataset_pair: tuple[str, str] | None = None,
) -> CampaignInfo:
    """Draw the items and store the campaign; `dataset_pair` compares two data sets with each other.

    Raises UserError for a specification out of bounds, a name that is taken, or nothing to draw.
    """
    campaign_name, instructions = _check_spec(campaign_spec)
    with labeling_session.database.read() as session:  # the draw may take seconds, in which others write
        _check_name_free(session, campaign_name)
        _check_datasets(session, campaign_spec.datasets)
        judge_id = None if campaign_spec.judge is None else _judge_version(session, campaign_spec, campaign_spec.judge)
        item_rows = shuffled_items(0, campaign_spec.seed, _draw_items(session, campaign_spec, dataset_pair, judge_id))

    def store_campaign(session: Session) -> int:
        # Once more under the write lock: somebody may have taken the name during the draw.
        _check_name_free(session, campaign_name)
        campaign = Campaign(
            name=campaign_name,
            kind=CampaignKind(campaign_spec.kind),
            k=campaign_spec.k,
            instructions=instructions,
            # Dimensions describe one greeting; of two a rater would not know which is meant.
            rubric=campaign_spec.rubric and campaign_spec.kind != CampaignKind.COMPARE,
            seed=campaign_spec.seed,
            judge_id=judge_id,
        )
        session.add(campaign)
        session.flush()
        # Into the table itself: the mapped class takes four times as long under the write lock.
        item_table: Any = Item.__table__
        session.execute(insert(item_table), [{**item_row, "campaign_id": campaign.id} for item_row in item_rows])
        return campaign.id

    campaign_id = labeling_session.write(store_campaign)
    with labeling_session.database.read() as session:
        return next(campaign_info for campaign_info in campaign_infos(session) if campaign_info.id == campaign_id)


def _check_name_free(session: Session, campaign_name: str) -> None:
    if session.scalar(select(exists().where(Campaign.name == campaign_name))):
        raise UserError(
            f"There is a campaign named “{campaign_name}” already; choose another name.",
            f"已经有名为“{campaign_name}”的标注任务，请换一个名字。",
        )


def _draw_items(
    session: Session, campaign_spec: CampaignSpec, dataset_pair: tuple[str, str] | None, judge_id: int | None
) -> list[ItemDraw]:
    if dataset_pair is not None:
        return draw_across(session, campaign_spec, dataset_pair)
    if campaign_spec.kind == CampaignKind.COMPARE:
        return draw_pairs(session, campaign_spec)
    return draw_greetings(session, campaign_spec, judge_id)


def set_closed(labeling_session: LabelingSession, campaign_id: int, is_closed: bool) -> None:
    """Close a campaign for answers, or open it again."""

    def store_closed(session: Session) -> None:
        sentences = f"There is no campaign {campaign_id}.", f"没有编号为 {campaign_id} 的标注任务。"
        get_or_not_found(session, Campaign, campaign_id, *sentences).closed = is_closed

    labeling_session.write(store_closed)


def list_campaigns(labeling_session: LabelingSession) -> list[CampaignInfo]:
    """Every campaign with its counts, the newest first."""
    with labeling_session.database.read() as session:
        return campaign_infos(session)


def _check_spec(campaign_spec: CampaignSpec) -> tuple[str, str]:
    campaign_name = check_line(campaign_spec.name, _MAX_NAME_LENGTH, "The campaign's name", "任务名称")
    instructions = check_prose(campaign_spec.instructions, _MAX_INSTRUCTIONS_LENGTH, "The instructions", "标注说明")
    check_choice(campaign_spec.kind, CampaignKind, "kind", "任务类型")
    _check_range(campaign_spec.k, 1, MAX_RATERS_PER_ITEM, "The number of raters per item", "每题人数")
    _check_range(campaign_spec.limit, 1, MAX_ITEMS, "The number of items", "题目数量")
    _check_range(campaign_spec.seed, 0, _BIGGEST_SEED, "The seed", "随机种子")
    if campaign_spec.judge is not None and campaign_spec.kind == CampaignKind.COMPARE:
        raise UserError(
            "Only a validate campaign has a judge; leave the judge empty.",
            "只有“验证裁判”类任务需要裁判，请把裁判留空。",
        )
    return campaign_name, instructions


def _check_range(checked_number: int, lower_bound: int, upper_bound: int, en: str, zh: str) -> None:
    # Not isinstance: True is an int, and JSON's true is no number of raters.
    if type(checked_number) is not int or not lower_bound <= checked_number <= upper_bound:
        raise UserError(
            f"{en} must be a whole number from {lower_bound} to {upper_bound}.",
            f"{zh}必须是 {lower_bound} 到 {upper_bound} 的整数。",
        )


def _check_datasets(session: Session, dataset_names: tuple[str, ...]) -> None:
    known_names = list(session.scalars(select(Dataset.name).order_by(Dataset.name)))
    for dataset_name in dataset_names:
        if dataset_name not in known_names:
            raise UserError(
                f"There is no data set named “{dataset_name}”; known: {', '.join(known_names) or 'none yet'}.",
                f"没有名为“{dataset_name}”的数据集，已有：{'、'.join(known_names) or '无'}。",
            )


def _judge_version(session: Session, campaign_spec: CampaignSpec, judge_name: str) -> int:
    """The version that stands for the judge on what may be drawn. Raises UserError for no verdicts at all."""
    has_verdict = exists().where(Verdict.rater_id == Rater.id, Verdict.value.is_not(None))
    judge_query = select(Rater.id, Rater.name).where(Rater.kind == RaterKind.JUDGE, has_verdict).order_by(Rater.id)
    versions_by_name: dict[str, list[int]] = {}
    for rater_id, stored_name in session.execute(judge_query):
        versions_by_name.setdefault(stored_name, []).append(rater_id)
    if judge_name not in versions_by_name:
        raise UserError(
            f"No verdicts of a judge named “{judge_name}” are stored; known: "
            f"{', '.join(versions_by_name) or 'none yet'}.",
            f"没有名为“{judge_name}”的裁判的评判结果，已有：{'、'.join(versions_by_name) or '无'}。",
        )
    verdict_counts = count_judged(session, campaign_spec, versions_by_name[judge_name])
    return versions_by_name[judge_name][
        current_version([verdict_counts.get(rater_id, 0) for rater_id in versions_by_name[judge_name]])
    ]


def shuffled_items(campaign_id: int, seed: int, item_draws: list[ItemDraw]) -> list[dict[str, int | None]]:
    """The items of a campaign as rows, in an order that only the seed decides."""
    # The order is shuffled and so is which of two greetings is A: in imported pairs the first is the
    # better one, and position must not tell.
    shuffler = random.Random(seed)
    shuffler.shuffle(item_draws)
    item_rows: list[dict[str, int | None]] = []
    for position, item_draw in enumerate(item_draws):
        greeting_a, greeting_b = item_draw.first_id, item_draw.second_id
        if greeting_b is not None and shuffler.random() < 0.5:
            greeting_a, greeting_b = greeting_b, greeting_a
        item_rows.append(
            {
                "campaign_id": campaign_id,
                "position": position,
                "prompt_id": item_draw.prompt_id,
                "greeting_a_id": greeting_a,
                "greeting_b_id": greeting_b,
            }
        )
    return item_rows
