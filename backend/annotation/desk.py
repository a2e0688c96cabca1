"""What every part of annotation shares: transactions that survive a race, and look-ups."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, bindparam, exists, func, inspect, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, aliased

from backend import text
from backend.db.engine import VOTE_WAIT_S, Database
from backend.db.tables import Campaign, Item, Rater
from backend.errors import Busy, Conflict, NotFound, UserError
from backend.vocabulary import CampaignKind, RaterKind

T = TypeVar("T")

_ATTEMPTS = 6
_TURN = 0x5A46_0001
"""Number of the advisory lock under which PostgreSQL lets one annotation write at a time."""


class Raced(Exception):
    """Another transaction took what this one had read; try again on what stands now."""


class Desk:
    """Database, clock and lease time, handed to every part."""

    def __init__(
        self,
        database: Database,
        lease: timedelta,
        clock: Callable[[], datetime],
        wait_s: float = VOTE_WAIT_S,
    ) -> None:
        self.database = database
        self.lease = lease
        self.clock = clock
        self._wait_s = wait_s
        # SQLite waits for its write lock by polling with growing pauses, which starves some of eight
        # writers for a second; inside one process they queue here instead.
        self._sqlite = database.engine.dialect.name == "sqlite"
        self._turn = threading.Lock()

    def write(self, work: Callable[[Session], T]) -> T:
        """Run `work` in one write transaction. Raises Busy where the lock is not free within `wait_s`.

        One writer at a time: SQLite's way, and PostgreSQL is asked for it, since of eight annotators at one
        item all but one would else have read what no longer holds. What still meets another writer (an
        import, say) is stopped by the unique constraints, starts anew and sees what the faster one did.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                with self._my_turn() as session:
                    return work(session)
            except (IntegrityError, Raced):
                if attempt == _ATTEMPTS:
                    raise
        raise AssertionError("unreachable")

    @contextmanager
    def _my_turn(self) -> Iterator[Session]:
        """A write transaction; waiting for the turn and for the lock together take `wait_s` at most."""
        until = time.monotonic() + self._wait_s
        if not self._sqlite:
            with self.database.write(self._wait_s) as session:
                session.execute(select(func.pg_advisory_xact_lock(_TURN)))
                yield session
            return
        if not self._turn.acquire(timeout=self._wait_s):
            raise Busy(
                "The server is busy with other answers; nothing was saved. Try again soon.",
                "服务器正忙，正在保存其他人的回答；没有保存任何内容，请稍后再试。",
            )
        try:
            with self.database.write(max(0.0, until - time.monotonic())) as session:
                yield session
        finally:
            self._turn.release()


class UnknownRater(NotFound):
    """Nobody, or somebody whom this database does not know."""


@dataclass(frozen=True)
class Round:
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
_ROUND = (
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
    .outerjoin(Rater, Rater.id == bindparam("rater"))
    .where(Campaign.id == bindparam("campaign"))
)
_QUESTION = select(Item.id, Item.greeting_a_id, Item.greeting_b_id).where(
    Item.id == bindparam("item"), Item.campaign_id == bindparam("campaign")
)


def round_of(session: Session, campaign_id: int, rater_id: int) -> Round:
    """The campaign, for this person; NotFound where either does not exist."""
    row = session.execute(_ROUND, {"campaign": campaign_id, "rater": rater_id}).first()
    if row is None:
        raise NotFound(f"There is no campaign {campaign_id}.", f"没有编号为 {campaign_id} 的标注任务。")
    if row[-1] != RaterKind.HUMAN:
        raise unknown_person()
    return Round(*row[:-1])


def open_round(session: Session, campaign_id: int, rater_id: int, kind: CampaignKind | None = None) -> Round:
    """The campaign if it takes labels (of this kind); Conflict where it is closed."""
    campaign = round_of(session, campaign_id, rater_id)
    if campaign.closed:
        raise Conflict(
            f"Campaign “{campaign.name}” is closed and takes no more labels.",
            f"标注任务“{campaign.name}”已关闭，不再接收标注。",
        )
    if kind is not None and campaign.kind != kind:
        raise UserError(
            f"Campaign “{campaign.name}” is of kind {campaign.kind.value}, which takes other answers.",
            f"标注任务“{campaign.name}”是另一种类型，不接受这样的回答。",
        )
    return campaign


def question_of(session: Session, campaign: Round, item_id: int) -> Question:
    """The campaign's item, or NotFound."""
    row = session.execute(_QUESTION, {"item": item_id, "campaign": campaign.id}).first()
    if row is None:
        raise NotFound(
            f"Campaign “{campaign.name}” has no item {item_id}.",
            f"标注任务“{campaign.name}”里没有编号为 {item_id} 的题目。",
        )
    return Question(*row)


def unknown_person() -> UnknownRater:
    """The sentence for somebody who has not entered a name, or whose database is gone."""
    return UnknownRater("We do not know you yet; enter your name first.", "还不认识你，请先填写名字。")


def current(table: Any) -> ColumnElement[bool]:
    """The condition that nothing supersedes a row of the table (or of an alias of it)."""
    newer = aliased(inspect(table).mapper)
    return ~exists().where(newer.supersedes_id == table.id)


def sides(campaign: Round, question: Question, rater_id: int) -> tuple[int, int | None]:
    """Ids of the greetings this rater sees left and right: fixed by seed, rater and item."""
    if question.b_id is None:
        return question.a_id, None
    if text.bucket(f"{campaign.seed}:{rater_id}:{question.id}", 2) == 0:
        return question.a_id, question.b_id
    return question.b_id, question.a_id
