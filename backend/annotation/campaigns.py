"""Making, closing and reopening campaigns; what goes into them is drawn in `sampling`."""

import random
from typing import Any

from sqlalchemy import exists, insert, select
from sqlalchemy.orm import Session

from backend.annotation.checks import check_line, check_prose, one_of
from backend.annotation.desk import Desk
from backend.annotation.progress import campaign_infos
from backend.annotation.sampling import Draw, draw_across, draw_greetings, draw_pairs, judged
from backend.db.tables import Campaign, Dataset, Item, Rater, Verdict
from backend.errors import NotFound, UserError
from backend.judge_versions import standing
from backend.records import CampaignInfo, CampaignSpec
from backend.vocabulary import CampaignKind, RaterKind

MAX_K = 20
MAX_ITEMS = 100_000
_NAME, _INSTRUCTIONS = 60, 4_000
_BIGGEST_SEED = 2**31 - 1


def create(desk: Desk, spec: CampaignSpec, across: tuple[str, str] | None = None) -> CampaignInfo:
    """Draw the items and store the campaign; `across` compares two data sets with each other."""
    name, instructions = _check(spec)
    with desk.database.read() as session:  # the draw may take seconds, in which others write
        _must_be_free(session, name)
        _check_datasets(session, spec.datasets)
        judge_id = None if spec.judge is None else _judge(session, spec, spec.judge)
        rows = shuffled(0, spec.seed, _draw(session, spec, across, judge_id))

    def store(session: Session) -> int:
        _must_be_free(session, name)
        campaign = Campaign(
            name=name,
            kind=CampaignKind(spec.kind),
            k=spec.k,
            instructions=instructions,
            rubric=spec.rubric and spec.kind != CampaignKind.COMPARE,
            seed=spec.seed,
            judge_id=judge_id,
        )
        session.add(campaign)
        session.flush()
        # Into the table itself: the mapped class takes four times as long under the write lock.
        items: Any = Item.__table__
        session.execute(insert(items), [{**row, "campaign_id": campaign.id} for row in rows])
        return campaign.id

    campaign_id = desk.write(store)
    with desk.database.read() as session:
        return next(info for info in campaign_infos(session) if info.id == campaign_id)


def _must_be_free(session: Session, name: str) -> None:
    if session.scalar(select(exists().where(Campaign.name == name))):
        raise UserError(
            f"There is a campaign named “{name}” already; choose another name.",
            f"已经有名为“{name}”的标注任务，请换一个名字。",
        )


def _draw(
    session: Session, spec: CampaignSpec, across: tuple[str, str] | None, judge_id: int | None
) -> list[Draw]:
    if across is not None:
        return draw_across(session, spec, across)
    if spec.kind == CampaignKind.COMPARE:
        return draw_pairs(session, spec)
    return draw_greetings(session, spec, judge_id)


def set_closed(desk: Desk, campaign_id: int, closed: bool) -> None:
    """Close a campaign for answers, or open it again."""

    def store(session: Session) -> None:
        campaign = session.get(Campaign, campaign_id)
        if campaign is None:
            raise NotFound(f"There is no campaign {campaign_id}.", f"没有编号为 {campaign_id} 的标注任务。")
        campaign.closed = closed

    desk.write(store)


def list_campaigns(desk: Desk) -> list[CampaignInfo]:
    """Every campaign with its counts, the newest first."""
    with desk.database.read() as session:
        return campaign_infos(session)


def _check(spec: CampaignSpec) -> tuple[str, str]:
    name = check_line(spec.name, _NAME, "The campaign's name", "任务名称")
    instructions = check_prose(spec.instructions, _INSTRUCTIONS, "The instructions", "标注说明")
    one_of(spec.kind, CampaignKind, "kind", "任务类型")
    _check_range(spec.k, 1, MAX_K, "The number of raters per item", "每题人数")
    _check_range(spec.limit, 1, MAX_ITEMS, "The number of items", "题目数量")
    _check_range(spec.seed, 0, _BIGGEST_SEED, "The seed", "随机种子")
    if spec.judge is not None and spec.kind == CampaignKind.COMPARE:
        raise UserError(
            "Only a validate campaign has a judge; leave the judge empty.",
            "只有“验证裁判”类任务需要裁判，请把裁判留空。",
        )
    return name, instructions


def _check_range(value: int, low: int, high: int, en: str, zh: str) -> None:
    if type(value) is not int or not low <= value <= high:
        raise UserError(
            f"{en} must be a whole number from {low} to {high}.", f"{zh}必须是 {low} 到 {high} 的整数。"
        )


def _check_datasets(session: Session, names: tuple[str, ...]) -> None:
    known = list(session.scalars(select(Dataset.name).order_by(Dataset.name)))
    for name in names:
        if name not in known:
            raise UserError(
                f"There is no data set named “{name}”; known: {', '.join(known) or 'none yet'}.",
                f"没有名为“{name}”的数据集，已有：{'、'.join(known) or '无'}。",
            )


def _judge(session: Session, spec: CampaignSpec, name: str) -> int:
    """The version that stands for the judge on what may be drawn. Raises UserError for no verdicts at all."""
    scored = exists().where(Verdict.rater_id == Rater.id, Verdict.value.is_not(None))
    judges = select(Rater.id, Rater.name).where(Rater.kind == RaterKind.JUDGE, scored).order_by(Rater.id)
    versions: dict[str, list[int]] = {}
    for rater_id, found in session.execute(judges):
        versions.setdefault(found, []).append(rater_id)
    if name not in versions:
        raise UserError(
            f"No verdicts of a judge named “{name}” are stored; known: {', '.join(versions) or 'none yet'}.",
            f"没有名为“{name}”的裁判的评判结果，已有：{'、'.join(versions) or '无'}。",
        )
    verdicts = judged(session, spec, versions[name])
    return versions[name][standing([verdicts.get(rater_id, 0) for rater_id in versions[name]])]


def shuffled(campaign_id: int, seed: int, drawn: list[Draw]) -> list[dict[str, int | None]]:
    """The items of a campaign as rows, in an order that only the seed decides."""
    # The order is shuffled and so is which of two greetings is A: in imported pairs the first is the
    # better one, and position must not tell.
    shuffler = random.Random(seed)
    shuffler.shuffle(drawn)
    items: list[dict[str, int | None]] = []
    for position, draw in enumerate(drawn):
        a, b = draw.first_id, draw.second_id
        if b is not None and shuffler.random() < 0.5:
            a, b = b, a
        items.append(
            {
                "campaign_id": campaign_id,
                "position": position,
                "prompt_id": draw.prompt_id,
                "greeting_a_id": a,
                "greeting_b_id": b,
            }
        )
    return items
