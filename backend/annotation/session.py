"""What every part of annotation shares: transactions that survive a race, look-ups, checks of hand-made requests."""

import math
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from sqlalchemy import bindparam, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from backend.core import text
from backend.core.enums import CampaignKind, RaterKind
from backend.core.errors import Busy, Conflict, NotFound, UserError
from backend.db.engine import VOTE_WAIT_S, Database
from backend.db.tables import Campaign, Item, Rater

_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MAX_SECONDS = 86_400.0


def check_request_id(request_id: str) -> None:
    """Refuse what is not 1 to 64 characters of A–Z, a–z, 0–9, _ and -."""
    if not isinstance(request_id, str) or not _REQUEST_ID.fullmatch(request_id):
        raise UserError(
            "request_id must be 1 to 64 characters of A–Z, a–z, 0–9, “_” and “-”.",
            "request_id 必须是 1 到 64 个字母、数字、“_”或“-”。",
        )


def check_seconds(seconds: float | None) -> None:
    """Refuse a duration that no person can have taken."""
    if seconds is None:
        return
    # Python's JSON takes NaN and Infinity, and SQLite would store NaN as null.
    if not math.isfinite(seconds) or not 0 <= seconds <= _MAX_SECONDS:
        raise UserError("seconds must lie between 0 and 86400.", "seconds 必须在 0 到 86400 之间。")


def check_prose(free_text: str, max_length: int, en: str, zh: str) -> str:
    """A cleaned free text of at most `max_length` characters; `en` and `zh` name the field. Raises UserError."""
    cleaned = text.normalize_text(free_text)
    if len(cleaned) > max_length:
        raise UserError(f"{en} may have at most {max_length} characters.", f"{zh}最多 {max_length} 个字符。")
    if text.has_control_characters(cleaned):
        raise UserError(f"{en} holds control characters; remove them.", f"{zh}含有控制字符，请去掉。")
    return cleaned


def check_line(single_line: str, max_length: int, en: str, zh: str) -> str:
    """A cleaned single line of 1 to `max_length` characters; `en` and `zh` name the field.

    Raises UserError.
    """
    cleaned = check_prose(single_line, max_length, en, zh)
    if not cleaned:
        raise UserError(f"{en} is empty; please fill it in.", f"{zh}不能为空，请填写。")
    if any(separator in cleaned for separator in "\n\t"):
        raise UserError(f"{en} must be one line without tabs.", f"{zh}必须是一行，不能有制表符。")
    return cleaned


def check_choice(chosen: str, choices: Iterable[str], en: str, zh: str) -> None:
    """Refuse a value outside a closed list."""
    choice_names = list(choices)
    if chosen not in choice_names:
        choices_text = ", ".join(choice_names)
        raise UserError(f"{en} must be one of: {choices_text}.", f"{zh}只能是：{choices_text}。")


ResultT = TypeVar("ResultT")

# A conflict means that another writer got further, so that somebody advances each time; six conflicts in a row are a
# mistake of the program rather than bad luck.
_MAX_ATTEMPTS = 6
# Number of the advisory lock under which PostgreSQL lets one annotation write at a time.
_ADVISORY_LOCK = 0x5A46_0001


class WriteConflict(Exception):
    """Another transaction took what this one had read; try again on what stands now."""


class LabelingSession:
    """Database, clock and lease time, handed to every part; `wait_seconds` is how long a write waits for its turn."""

    def __init__(
        self,
        database: Database,
        lease_time: timedelta,
        clock: Callable[[], datetime],
        wait_seconds: float = VOTE_WAIT_S,
    ) -> None:
        self.database = database
        self.lease = lease_time
        self.clock = clock
        self._wait_seconds = wait_seconds
        # SQLite waits for its write lock by polling with growing pauses, which starves some of eight
        # writers for a second; inside one process they queue here instead.
        self._is_sqlite = database.engine.dialect.name == "sqlite"
        self._write_lock = threading.Lock()

    def write(self, transaction: Callable[[Session], ResultT]) -> ResultT:
        """Run `transaction` in one write transaction. Raises Busy where the lock stays taken.

        One writer at a time: SQLite's way, and PostgreSQL is asked for it, since of eight annotators at one
        item all but one would else have read what no longer holds. What still meets another writer (an
        import, say) is stopped by the unique constraints, starts anew and sees what the faster one did.
        """
        for attempt in range(1, _MAX_ATTEMPTS + 1):
            try:
                with self._exclusive_session() as session:
                    return transaction(session)
            # The whole transaction once more, reading included: a part of it would go on from what no longer
            # holds.
            except (IntegrityError, WriteConflict):
                if attempt == _MAX_ATTEMPTS:
                    raise
        raise AssertionError("unreachable")

    @contextmanager
    def _exclusive_session(self) -> Iterator[Session]:
        """A write transaction; waiting for the turn and for the lock together take `wait_seconds` at most."""
        deadline = time.monotonic() + self._wait_seconds
        if not self._is_sqlite:
            with self.database.write(self._wait_seconds) as session:
                session.execute(select(func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
                yield session
            return
        if not self._write_lock.acquire(timeout=self._wait_seconds):
            raise Busy(
                "The server is busy with other answers; nothing was saved. Try again soon.",
                "服务器正忙，正在保存其他人的回答；没有保存任何内容，请稍后再试。",
            )
        try:
            with self.database.write(max(0.0, deadline - time.monotonic())) as session:
                yield session
        finally:
            self._write_lock.release()


class UnknownRater(NotFound):
    """Nobody, or somebody whom this database does not know."""


@dataclass(frozen=True)
class CampaignSnapshot:
    """What the hot paths need of a campaign, read in one go with the check of the rater."""

    id: int
    name: str
    kind: CampaignKind
    k: int
    seed: int
    closed: bool
    rubric: bool
    judge_id: int | None


@dataclass(frozen=True)
class Question:
    """An item's greetings in canonical order."""

    id: int
    a_id: int
    b_id: int | None


# Statements are built once: building and aliasing them anew cost ten times what the database needs.
_CAMPAIGN_QUERY = (
    select(
        Campaign.id,
        Campaign.name,
        Campaign.kind,
        Campaign.k,
        Campaign.seed,
        Campaign.closed,
        Campaign.rubric,
        Campaign.judge_id,
        Rater.kind,
    )
    # Outer, so that an unknown rater is told apart from an unknown campaign within the one query.
    .outerjoin(Rater, Rater.id == bindparam("rater"))
    .where(Campaign.id == bindparam("campaign"))
)
_QUESTION_QUERY = select(Item.id, Item.greeting_a_id, Item.greeting_b_id).where(
    Item.id == bindparam("item"), Item.campaign_id == bindparam("campaign")
)


def load_campaign(session: Session, campaign_id: int, rater_id: int) -> CampaignSnapshot:
    """The campaign, for this person; NotFound where either does not exist."""
    campaign_row = session.execute(_CAMPAIGN_QUERY, {"campaign": campaign_id, "rater": rater_id}).first()
    if campaign_row is None:
        raise NotFound(f"There is no campaign {campaign_id}.", f"没有编号为 {campaign_id} 的标注任务。")
    if campaign_row[-1] != RaterKind.HUMAN:
        raise unknown_rater_error()
    return CampaignSnapshot(*campaign_row[:-1])


def load_open_campaign(
    session: Session, campaign_id: int, rater_id: int, campaign_kind: CampaignKind | None = None
) -> CampaignSnapshot:
    """The campaign if it takes labels (of this kind); Conflict where it is closed."""
    campaign = load_campaign(session, campaign_id, rater_id)
    if campaign.closed:
        raise Conflict(
            f"Campaign “{campaign.name}” is closed and takes no more labels.",
            f"标注任务“{campaign.name}”已关闭，不再接收标注。",
        )
    if campaign_kind is not None and campaign.kind != campaign_kind:
        raise UserError(
            f"Campaign “{campaign.name}” is of kind {campaign.kind.value}, which takes other answers.",
            f"标注任务“{campaign.name}”是另一种类型，不接受这样的回答。",
        )
    return campaign


def load_question(session: Session, campaign: CampaignSnapshot, item_id: int) -> Question:
    """The campaign's item, or NotFound."""
    question_row = session.execute(_QUESTION_QUERY, {"item": item_id, "campaign": campaign.id}).first()
    if question_row is None:
        raise NotFound(
            f"Campaign “{campaign.name}” has no item {item_id}.",
            f"标注任务“{campaign.name}”里没有编号为 {item_id} 的题目。",
        )
    return Question(*question_row)


def unknown_rater_error() -> UnknownRater:
    """The sentence for somebody who has not entered a name, or whose database is gone."""
    return UnknownRater("We do not know you yet; enter your name first.", "还不认识你，请先填写名字。")


def display_order(campaign: CampaignSnapshot, question: Question, rater_id: int) -> tuple[int, int | None]:
    """Ids of the greetings this rater sees left and right: fixed by seed, rater and item."""
    if question.b_id is None:
        return question.a_id, None
    # By hash and not stored: a reload shows the same sides, and no row has to be written before an item is seen.
    if text.assign_bucket(f"{campaign.seed}:{rater_id}:{question.id}", 2) == 0:
        return question.a_id, question.b_id
    return question.b_id, question.a_id
