"""The facade that pages, routes and commands call; the work is in the modules beside it."""

from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.annotation import campaigns, history, labels, queue, undo, views
from backend.annotation.checks import check_line
from backend.annotation.desk import Desk, Round, open_round, round_of, unknown_person
from backend.annotation.progress import progress_of
from backend.db.base import now
from backend.db.engine import Database
from backend.db.insert import insert_ignore
from backend.db.tables import Rater
from backend.records import (
    CampaignInfo,
    CampaignSpec,
    ComparisonInput,
    HistoryEntry,
    ItemDetail,
    ItemView,
    Judged,
    Progress,
    RaterInfo,
    ReviewInput,
    Saved,
    VerdictInput,
)
from backend.vocabulary import RaterKind


class AnnotationService:
    """Campaigns, the lease queue, labels and undo. Errors are UserError, NotFound or Conflict."""

    def __init__(self, database: Database, lease_seconds: int, clock: Callable[[], datetime] = now) -> None:
        self._desk = Desk(database, timedelta(seconds=lease_seconds), clock)

    def enter(self, name: str) -> RaterInfo:
        """Find or make the person of that name (1 to 40 characters)."""
        cleaned = check_line(name, 40, "Your name", "名字")
        key = {"kind": RaterKind.HUMAN, "name": cleaned, "version": ""}
        with self._desk.database.write() as session:
            insert_ignore(session, Rater, [key])
            rater = session.scalars(select(Rater).filter_by(**key)).one()
            return RaterInfo(rater.id, rater.name)

    def rater(self, rater_id: int) -> RaterInfo:
        """The person of that id, or NotFound."""
        with self._desk.database.read() as session:
            rater = session.get(Rater, rater_id)
            if rater is None or rater.kind != RaterKind.HUMAN:
                raise unknown_person()
            return RaterInfo(rater.id, rater.name)

    def create_campaign(self, spec: CampaignSpec) -> CampaignInfo:
        """Draw items and store a new campaign."""
        return campaigns.create(self._desk, spec)

    def campaigns(self) -> list[CampaignInfo]:
        """Every campaign with its counts, the newest first."""
        return campaigns.list_campaigns(self._desk)

    def close_campaign(self, campaign_id: int) -> None:
        """Take no more answers; nothing stored is touched."""
        campaigns.set_closed(self._desk, campaign_id, True)

    def reopen_campaign(self, campaign_id: int) -> None:
        """Take answers again."""
        campaigns.set_closed(self._desk, campaign_id, False)

    def next_item(self, campaign_id: int, rater_id: int) -> ItemView | None:
        """Lease the rater's next item (or give the held one again); None where nothing is left."""

        def lease(session: Session) -> tuple[Round, int | None]:
            campaign = open_round(session, campaign_id, rater_id)
            waiting = views.to_review(session, campaign, rater_id)
            return campaign, waiting or queue.take_next(self._desk, session, campaign, rater_id)

        campaign, item_id = self._desk.write(lease)
        if item_id is None:
            return None
        # Counting for the bar happens outside the write transaction, which all raters queue for.
        with self._desk.database.read() as session:
            return views.view(session, campaign, item_id, rater_id)

    def progress(self, campaign_id: int, rater_id: int) -> Progress:
        """The bar of one rater in one campaign."""
        with self._desk.database.read() as session:
            return progress_of(session, round_of(session, campaign_id, rater_id), rater_id)

    def compare(self, given: ComparisonInput, rater_id: int) -> Saved:
        """Store an answer to a compare item; on disk when this returns."""
        return labels.compare(self._desk, given, rater_id)

    def judge_blind(self, given: VerdictInput, rater_id: int) -> Judged:
        """Store a blind verdict on a validate item and show the judge's."""
        return labels.judge_blind(self._desk, given, rater_id)

    def review(self, given: ReviewInput, rater_id: int) -> Saved:
        """Store whether the rater agrees with the judge."""
        return labels.review(self._desk, given, rater_id)

    def undo(self, campaign_id: int, rater_id: int, request_id: str) -> ItemView:
        """Take back the rater's latest answer in the campaign and hand its item out again."""
        return undo.undo(self._desk, campaign_id, rater_id, request_id)

    def history(self, item_id: int) -> list[HistoryEntry]:
        """Every answer ever given to the item, for the researcher."""
        with self._desk.database.read() as session:
            return history.history_of(session, item_id)

    def item(self, item_id: int) -> ItemDetail:
        """Everything about an item, for the researcher."""
        with self._desk.database.read() as session:
            return history.item_detail(session, item_id)
