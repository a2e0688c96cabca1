"""The facade that pages, routes and commands call; the work is in the modules beside it."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.annotation import campaigns, history, labels, queue, undo, views
from backend.annotation.checks import check_line
from backend.annotation.desk import Desk, Round, open_round, round_of, unknown_person
from backend.annotation.progress import Bars, progress_of
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

T = TypeVar("T")


class AnnotationService:
    """Campaigns, the lease queue, labels and undo. Errors are UserError, NotFound or Conflict."""

    def __init__(self, database: Database, lease_seconds: int, clock: Callable[[], datetime] = now) -> None:
        self._desk = Desk(database, timedelta(seconds=lease_seconds), clock)
        self._bars = Bars()

    def enter(self, name: str) -> RaterInfo:
        """Find or make the person of that name (1 to 40 characters)."""
        cleaned = check_line(name, 40, "Your name", "名字")
        key = {"kind": RaterKind.HUMAN, "name": cleaned, "version": ""}

        def find_or_make(session: Session) -> RaterInfo:
            insert_ignore(session, Rater, [key])
            rater = session.scalars(select(Rater).filter_by(**key)).one()
            return RaterInfo(rater.id, rater.name)

        return self._desk.write(find_or_make)

    def find_rater(self, rater_id: int) -> RaterInfo | None:
        """The person of that id; None where there is none."""
        with self._desk.database.read() as session:
            rater = session.get(Rater, rater_id)
            if rater is None or rater.kind != RaterKind.HUMAN:
                return None
            return RaterInfo(rater.id, rater.name)

    def rater(self, rater_id: int) -> RaterInfo:
        """The person of that id, or UnknownRater."""
        found = self.find_rater(rater_id)
        if found is None:
            raise unknown_person()
        return found

    def create_campaign(self, spec: CampaignSpec, across: tuple[str, str] | None = None) -> CampaignInfo:
        """Draw items and store a new campaign.

        `across` names two data sets: each item then compares a greeting of one with one of the other.
        """
        return campaigns.create(self._desk, spec, across)

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
            return campaign, self._lease(session, campaign, rater_id)

        campaign, item_id = self._desk.write(lease)
        return self._view(campaign, item_id, rater_id)

    def progress(self, campaign_id: int, rater_id: int) -> Progress:
        """The bar of one rater in one campaign, counted now."""
        with self._desk.database.read() as session:
            return progress_of(session, round_of(session, campaign_id, rater_id), rater_id)

    def compare(self, given: ComparisonInput, rater_id: int) -> Saved:
        """Store an answer to a compare item; on disk when this returns."""
        return self._desk.write(labels.comparing(self._desk, given, rater_id))

    def judge_blind(self, given: VerdictInput, rater_id: int) -> Judged:
        """Store a blind verdict on a validate item and show the judge's."""
        return self._desk.write(labels.judging(self._desk, given, rater_id))

    def review(self, given: ReviewInput, rater_id: int) -> Saved:
        """Store whether the rater agrees with the judge."""
        return self._desk.write(labels.reviewing(given, rater_id))

    def compare_then_next(self, given: ComparisonInput, rater_id: int) -> tuple[Saved, ItemView | None]:
        """`compare` and `next_item` in one transaction: one commit, one round trip."""
        return self._then_next(labels.comparing(self._desk, given, rater_id), given.campaign_id, rater_id)

    def judge_then_next(self, given: VerdictInput, rater_id: int) -> tuple[Judged, ItemView | None]:
        """`judge_blind`, then the same item with the judge's verdict, or the next where there is none."""
        return self._then_next(labels.judging(self._desk, given, rater_id), given.campaign_id, rater_id)

    def review_then_next(self, given: ReviewInput, rater_id: int) -> tuple[Saved, ItemView | None]:
        """`review` and `next_item` in one transaction."""
        return self._then_next(labels.reviewing(given, rater_id), given.campaign_id, rater_id)

    def undo(self, campaign_id: int, rater_id: int, request_id: str) -> ItemView:
        """Take back the rater's latest answer in the campaign and hand its item out again."""
        return undo.undo(self._desk, self._bars, campaign_id, rater_id, request_id)

    def history(self, item_id: int) -> list[HistoryEntry]:
        """Every answer ever given to the item, for the researcher."""
        with self._desk.database.read() as session:
            return history.history_of(session, item_id)

    def item(self, item_id: int) -> ItemDetail:
        """Everything about an item, for the researcher."""
        with self._desk.database.read() as session:
            return history.item_detail(session, item_id)

    def _then_next(
        self, store: Callable[[Session], T], campaign_id: int, rater_id: int
    ) -> tuple[T, ItemView | None]:
        def work(session: Session) -> tuple[T, Round, int | None]:
            stored = store(session)
            campaign = round_of(session, campaign_id, rater_id)
            # A repeated request is answered as before even where the campaign was closed since.
            item_id = None if campaign.closed else self._lease(session, campaign, rater_id)
            return stored, campaign, item_id

        stored, campaign, item_id = self._desk.write(work)
        return stored, self._view(campaign, item_id, rater_id)

    def _lease(self, session: Session, campaign: Round, rater_id: int) -> int | None:
        waiting = views.to_review(session, campaign, rater_id)
        return waiting or queue.take_next(self._desk, session, campaign, rater_id)

    def _view(self, campaign: Round, item_id: int | None, rater_id: int) -> ItemView | None:
        if item_id is None:
            return None
        # Counting for the bar happens outside the write transaction, which all raters queue for.
        with self._desk.database.read() as session:
            return views.view(session, campaign, item_id, rater_id, self._bars)
