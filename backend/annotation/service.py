"""The facade that pages, routes and commands call; the work is in the modules beside it."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.annotation import campaigns, labels, queue, undo, views
from backend.annotation.progress import ProgressCache, count_progress
from backend.annotation.records import (
    CampaignInfo,
    CampaignProgress,
    CampaignSpec,
    ComparisonInput,
    HistoryEntry,
    ItemDetail,
    ItemView,
    RaterInfo,
    ReviewInput,
    SavedLabel,
    SavedVerdict,
    VerdictInput,
)
from backend.annotation.session import (
    CampaignSnapshot,
    LabelingSession,
    check_line,
    load_campaign,
    load_open_campaign,
    unknown_rater_error,
)
from backend.core.enums import RaterKind
from backend.db.base import insert_ignore, utc_now
from backend.db.engine import Database
from backend.db.tables import Rater

AnswerT = TypeVar("AnswerT")


class AnnotationService:
    """Campaigns, the lease queue, labels and undo. Errors are UserError, NotFound or Conflict."""

    def __init__(self, database: Database, lease_seconds: int, clock: Callable[[], datetime] = utc_now) -> None:
        self._labeling_session = LabelingSession(database, timedelta(seconds=lease_seconds), clock)
        self._progress_cache = ProgressCache()

    def enter(self, rater_name: str) -> RaterInfo:
        """Find or make the person of that name (1 to 40 characters)."""
        cleaned = check_line(rater_name, 40, "Your name", "名字")
        rater_key = {"kind": RaterKind.HUMAN, "name": cleaned, "version": ""}

        def find_or_make(session: Session) -> RaterInfo:
            # Inserting first and looking afterwards: two browsers that enter the same name at once both find
            # the one row.
            insert_ignore(session, Rater, [rater_key])
            rater_row = session.scalars(select(Rater).filter_by(**rater_key)).one()
            return RaterInfo(rater_row.id, rater_row.name)

        return self._labeling_session.write(find_or_make)

    def find_rater(self, rater_id: int) -> RaterInfo | None:
        """The person of that id; None where there is none."""
        with self._labeling_session.database.read() as session:
            rater_row = session.get(Rater, rater_id)
            if rater_row is None or rater_row.kind != RaterKind.HUMAN:
                return None
            return RaterInfo(rater_row.id, rater_row.name)

    def rater(self, rater_id: int) -> RaterInfo:
        """The person of that id, or UnknownRater."""
        rater_info = self.find_rater(rater_id)
        if rater_info is None:
            raise unknown_rater_error()
        return rater_info

    def create_campaign(self, campaign_spec: CampaignSpec, dataset_pair: tuple[str, str] | None = None) -> CampaignInfo:
        """Draw items and store a new campaign.

        `dataset_pair` names two data sets: each item then compares a greeting of one with one of the other.
        """
        return campaigns.create_campaign(self._labeling_session, campaign_spec, dataset_pair)

    def campaigns(self) -> list[CampaignInfo]:
        """Every campaign with its counts, the newest first."""
        return campaigns.list_campaigns(self._labeling_session)

    def close_campaign(self, campaign_id: int) -> None:
        """Take no more answers; nothing stored is touched."""
        campaigns.set_closed(self._labeling_session, campaign_id, True)

    def reopen_campaign(self, campaign_id: int) -> None:
        """Take answers again."""
        campaigns.set_closed(self._labeling_session, campaign_id, False)

    def next_item(self, campaign_id: int, rater_id: int) -> ItemView | None:
        """Lease the rater's next item (or give the held one again); None where nothing is left."""

        def lease_next(session: Session) -> tuple[CampaignSnapshot, int | None]:
            campaign = load_open_campaign(session, campaign_id, rater_id)
            return campaign, self._lease_item(session, campaign, rater_id)

        campaign, item_id = self._labeling_session.write(lease_next)
        return self._item_view(campaign, item_id, rater_id)

    def progress(self, campaign_id: int, rater_id: int) -> CampaignProgress:
        """The bar of one rater in one campaign, counted now."""
        with self._labeling_session.database.read() as session:
            return count_progress(session, load_campaign(session, campaign_id, rater_id), rater_id)

    def compare(self, submitted: ComparisonInput, rater_id: int) -> SavedLabel:
        """Store an answer to a compare item; on disk when this returns."""
        return self._labeling_session.write(labels.comparison_storer(self._labeling_session, submitted, rater_id))

    def judge_blind(self, submitted: VerdictInput, rater_id: int) -> SavedVerdict:
        """Store a blind verdict on a validate item and show the judge's."""
        return self._labeling_session.write(labels.verdict_storer(self._labeling_session, submitted, rater_id))

    def review(self, submitted: ReviewInput, rater_id: int) -> SavedLabel:
        """Store whether the rater agrees with the judge."""
        return self._labeling_session.write(labels.review_storer(submitted, rater_id))

    def compare_then_next(self, submitted: ComparisonInput, rater_id: int) -> tuple[SavedLabel, ItemView | None]:
        """`compare` and `next_item` in one transaction: one commit, one round trip."""
        return self._then_next(
            labels.comparison_storer(self._labeling_session, submitted, rater_id),
            submitted.campaign_id,
            rater_id,
        )

    def judge_then_next(self, submitted: VerdictInput, rater_id: int) -> tuple[SavedVerdict, ItemView | None]:
        """`judge_blind`, then the same item with the judge's verdict, or the next where there is none."""
        return self._then_next(
            labels.verdict_storer(self._labeling_session, submitted, rater_id),
            submitted.campaign_id,
            rater_id,
        )

    def review_then_next(self, submitted: ReviewInput, rater_id: int) -> tuple[SavedLabel, ItemView | None]:
        """`review` and `next_item` in one transaction."""
        return self._then_next(labels.review_storer(submitted, rater_id), submitted.campaign_id, rater_id)

    def undo(self, campaign_id: int, rater_id: int, request_id: str) -> ItemView:
        """Take back the rater's latest answer in the campaign and hand its item out again."""
        return undo.undo_latest(self._labeling_session, self._progress_cache, campaign_id, rater_id, request_id)

    def history(self, item_id: int) -> list[HistoryEntry]:
        """Every answer ever given to the item, for the researcher."""
        with self._labeling_session.database.read() as session:
            return views.load_history(session, item_id)

    def item(self, item_id: int) -> ItemDetail:
        """Everything about an item, for the researcher."""
        with self._labeling_session.database.read() as session:
            return views.load_item_detail(session, item_id)

    def _then_next(
        self, store_answer: Callable[[Session], AnswerT], campaign_id: int, rater_id: int
    ) -> tuple[AnswerT, ItemView | None]:
        def store_and_lease(session: Session) -> tuple[AnswerT, CampaignSnapshot, int | None]:
            stored_answer = store_answer(session)
            campaign = load_campaign(session, campaign_id, rater_id)
            # A repeated request is answered as before even where the campaign was closed since.
            item_id = None if campaign.closed else self._lease_item(session, campaign, rater_id)
            return stored_answer, campaign, item_id

        stored, campaign, item_id = self._labeling_session.write(store_and_lease)
        return stored, self._item_view(campaign, item_id, rater_id)

    def _lease_item(self, session: Session, campaign: CampaignSnapshot, rater_id: int) -> int | None:
        # A validate item has two halves: no new one before the judge's verdict on the last one has been
        # reviewed.
        item_to_review = views.item_to_review(session, campaign, rater_id)
        return item_to_review or queue.lease_next_item(self._labeling_session, session, campaign, rater_id)

    def _item_view(self, campaign: CampaignSnapshot, item_id: int | None, rater_id: int) -> ItemView | None:
        if item_id is None:
            return None
        # Counting for the bar happens outside the write transaction, which all raters queue for.
        with self._labeling_session.database.read() as session:
            return views.view_item(session, campaign, item_id, rater_id, self._progress_cache)
