"""Making, closing and reopening campaigns; what goes into them is drawn in `sampling`."""

import random
from typing import Any

from sqlalchemy import exists, insert, select
from sqlalchemy.orm import Session

from backend.annotation.checks import check_choice, check_line, check_prose
from backend.annotation.desk import LabelingSession
from backend.annotation.progress import campaign_infos
from backend.annotation.sampling import ItemDraw, count_judged, draw_across, draw_greetings, draw_pairs
from backend.db.tables import Campaign, Dataset, Item, Rater, Verdict
from backend.errors import NotFound, UserError
from backend.judge_versions import current_version
from backend.records import CampaignInfo, CampaignSpec
from backend.vocabulary import CampaignKind, RaterKind

MAX_RATERS_PER_ITEM = 20
MAX_ITEMS = 100_000
_MAX_NAME_LENGTH, _MAX_INSTRUCTIONS_LENGTH = 60, 4_000
_BIGGEST_SEED = 2**31 - 1


def create_campaign(
    labeling_session: LabelingSession,
    campaign_spec: CampaignSpec,
    dataset_pair: tuple[str, str] | None = None,
) -> CampaignInfo:
    """Draw the items and store the campaign; `across` compares two data sets with each other."""
    campaign_name, instructions = _check_spec(campaign_spec)
    with labeling_session.database.read() as session:  # the draw may take seconds, in which others write
        _check_name_free(session, campaign_name)
        _check_datasets(session, campaign_spec.datasets)
        judge_id = None if campaign_spec.judge is None else _judge_version(session, campaign_spec, campaign_spec.judge)
        item_rows = shuffled_items(0, campaign_spec.seed, _draw_items(session, campaign_spec, dataset_pair, judge_id))

    def store_campaign(session: Session) -> int:
        _check_name_free(session, campaign_name)
        campaign = Campaign(
            name=campaign_name,
            kind=CampaignKind(campaign_spec.kind),
            k=campaign_spec.k,
            instructions=instructions,
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
        campaign = session.get(Campaign, campaign_id)
        if campaign is None:
            raise NotFound(f"There is no campaign {campaign_id}.", f"没有编号为 {campaign_id} 的标注任务。")
        campaign.closed = is_closed

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
            f"No verdicts of a judge named “{judge_name}” are stored; known: {', '.join(versions_by_name) or 'none yet'}.",
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
