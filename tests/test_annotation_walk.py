"""A random walk of four raters, checked after each step against a model of what must hold."""

from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from backend.annotation.records import ComparisonInput
from backend.annotation.service import AnnotationService
from backend.core.enums import Outcome
from backend.core.errors import Conflict, UserError
from backend.db.engine import Database
from backend.db.tables import Campaign, Comparison, Item, Lease
from tests.annotation_helpers import LEASE, Clock, add_corpus, campaign

ITEMS, RATERS = 4, 4
ACTIONS = ("next", "label", "skip", "undo", "expire", "reload")


class Walk:
    """The service, and beside it what each rater must have answered by now."""

    def __init__(self, database: Database, number: int, k: int) -> None:
        self.database = database
        self.clock = Clock()
        self.service = AnnotationService(database, LEASE, self.clock)
        self.campaign = campaign(self.service, name=f"漫步{number}", k=k)
        self.k = k
        self.raters = [self.service.enter(f"人{n}").id for n in range(RATERS)]
        self.shown: dict[int, int | None] = dict.fromkeys(self.raters)
        self.answers: dict[tuple[int, int], str] = {}
        self.order: dict[int, list[int]] = {rater: [] for rater in self.raters}
        self.requests = 0

    def request(self) -> str:
        self.requests += 1
        return f"{self.campaign.id}-{self.requests}"

    def step(self, action: str, rater: int) -> None:
        self.clock.forward(1)
        if action == "expire":
            self.clock.forward(LEASE + 1)
        elif action == "undo":
            self._undo(rater)
        elif action in ("next", "reload") or self.shown[rater] is None:
            self._next(rater)
        else:
            self._answer(rater, "skip" if action == "skip" else "a")
        self.check()

    def _next(self, rater: int) -> None:
        view = self.service.next_item(self.campaign.id, rater)
        again = self.service.next_item(self.campaign.id, rater)
        assert (view and view.item_id) == (again and again.item_id)
        self.shown[rater] = view.item_id if view else None
        if view:
            assert (rater, view.item_id) not in self.answers

    def _answer(self, rater: int, outcome: str) -> None:
        item = self.shown[rater]
        assert item is not None
        answer = ComparisonInput(self.campaign.id, item, outcome, self.request())
        try:
            saved = self.service.compare(answer, rater)
        except Conflict:
            assert not self._holds(rater, item)
        else:
            assert saved.created and not self.service.compare(answer, rater).created
            self.answers[rater, item] = outcome
            self.order[rater].append(item)
        self.shown[rater] = None

    def _undo(self, rater: int) -> None:
        try:
            view = self.service.undo(self.campaign.id, rater, self.request())
        except Conflict:
            assert self.answers[rater, self.order[rater][-1]] == "skip"
        except UserError:
            assert not self.order[rater]
        else:
            item = self.order[rater].pop()
            assert view.item_id == item
            del self.answers[rater, item]
            self.shown[rater] = item

    def _holds(self, rater: int, item: int) -> bool:
        with self.database.read() as session:
            return (
                session.scalar(
                    select(Lease.id).where(Lease.item_id == item, Lease.rater_id == rater, Lease.done.is_(False))
                )
                is not None
            )

    def check(self) -> None:
        with self.database.read() as session:
            items = list(session.scalars(select(Item.id).where(Item.campaign_id == self.campaign.id)))
            leases = list(session.scalars(select(Lease).where(Lease.item_id.in_(items))))
            rows = list(session.scalars(select(Comparison).where(Comparison.item_id.in_(items))))
        per_item = Counter(lease.item_id for lease in leases)
        assert max(per_item.values(), default=0) <= self.k
        assert {lease.slot for lease in leases} <= set(range(self.k))
        replaced = {row.supersedes_id for row in rows}
        standing = {
            (row.rater_id, row.item_id): row.outcome.value
            for row in rows
            if row.id not in replaced and row.outcome != Outcome.WITHDRAWN
        }
        assert standing == self.answers
        done = {(lease.rater_id, lease.item_id) for lease in leases if lease.done}
        assert done == {key for key, outcome in standing.items() if outcome != "skip"}
        self._check_progress(Counter(item for _, item in done), items)

    def _check_progress(self, done: Counter[int], items: list[int]) -> None:
        finished = {item for item in items if done[item] == self.k}
        info = next(one for one in self.service.campaigns() if one.id == self.campaign.id)
        assert (info.finished, info.labels) == (len(finished), sum(done.values()))
        for rater in self.raters:
            progress = self.service.progress(self.campaign.id, rater)
            mine = {item for person, item in self.answers if person == rater}
            labelled = sum(outcome != "skip" for (who, _), outcome in self.answers.items() if who == rater)
            assert progress.done == len(finished)
            assert progress.mine == labelled
            assert progress.left_for_me == len([i for i in items if i not in finished | mine])
            assert progress.total == len(items)


@pytest.mark.filterwarnings("ignore::hypothesis.errors.NonInteractiveExampleWarning")
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    k=st.integers(1, 3),
    steps=st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, RATERS - 1)), max_size=60),
)
def test_no_walk_breaks_the_queue(database: Database, k: int, steps: list[tuple[str, int]]) -> None:
    with database.read() as session:
        number = session.query(Campaign).count()
    if number == 0:
        add_corpus(database, ITEMS)
    walk = Walk(database, number, k)
    for action, who in steps:
        walk.step(action, walk.raters[who])
    _finish(walk)


def _finish(walk: Walk) -> None:
    """Nothing is lost: when everybody goes on, every item a rater may answer gets its k answers."""
    for rater in walk.raters:
        walk.clock.forward(LEASE + 1)
        while True:
            walk._next(rater)
            if walk.shown[rater] is None:
                break
            walk._answer(rater, "b")
        walk.check()
        assert walk.service.progress(walk.campaign.id, rater).left_for_me == 0
