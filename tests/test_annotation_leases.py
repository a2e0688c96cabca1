"""The lease queue row by row: who holds which slot until when, and whom an item goes to next."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from backend.annotation import queue
from backend.annotation.records import ComparisonInput, ReviewInput, VerdictInput
from backend.annotation.service import AnnotationService
from backend.annotation.session import (
    CampaignSnapshot,
    LabelingSession,
    WriteConflict,
    load_campaign,
    load_open_campaign,
)
from backend.core.enums import CampaignKind, Outcome, Scale
from backend.core.errors import Conflict, NotFound, UserError
from backend.db.engine import Database
from backend.db.queries import newest_rows
from backend.db.tables import Campaign, Comparison, Item, Lease, Review, Verdict
from tests.annotation_helpers import LEASE, Clock, add_corpus, add_judge, campaign, greeting_ids
from tests.annotation_helpers import clock as clock
from tests.annotation_helpers import service as service
from tests.postgres import EITHER

pytestmark = [pytest.mark.database, EITHER]


class Desks:
    """Queue functions called as the service calls them, each in a transaction of its own."""

    def __init__(self, database: Database, clock: Clock, campaign_id: int) -> None:
        self.database, self.clock, self.id = database, clock, campaign_id
        self.desk = LabelingSession(database, timedelta(seconds=LEASE), clock)

    def run(self, work: Any) -> Any:
        return self.desk.write(work)

    def next(self, rater: int) -> int | None:
        found: int | None = self.run(
            lambda session: queue.lease_next_item(self.desk, session, load_campaign(session, self.id, rater), rater)
        )
        return found

    def take(self, item: int, rater: int) -> None:
        self.run(
            lambda session: queue.lease_item(self.desk, session, load_campaign(session, self.id, rater), item, rater)
        )

    def finish(self, item: int, rater: int) -> None:
        self.run(lambda session: queue.finish_lease(session, item, rater))

    def release(self, item: int, rater: int) -> None:
        self.run(lambda session: queue.release_lease(session, item, rater))

    def leases(self) -> list[tuple[int, int, int, bool, int]]:
        """Item, rater, slot, whether done, seconds until it expires; by item and slot."""
        with self.database.read() as session:
            rows = session.scalars(select(Lease).order_by(Lease.item_id, Lease.slot)).all()
            return [
                (row.item_id, row.rater_id, row.slot, row.done, (row.expires_at - self.clock.now).seconds)
                for row in rows
            ]

    def items(self) -> list[int]:
        """Ids in the order in which items are handed out."""
        with self.database.read() as session:
            where = Item.campaign_id == self.id
            return list(session.scalars(select(Item.id).where(where).order_by(Item.position)))


@pytest.fixture
def desks(database: Database, service: AnnotationService, clock: Clock) -> Desks:
    """Three items, one rater each."""
    add_corpus(database, 3)
    return Desks(database, clock, campaign(service).id)


@pytest.fixture
def people(service: AnnotationService) -> tuple[int, int, int]:
    one, two, three = (service.enter(name).id for name in "甲乙丙")
    return one, two, three


def test_items_go_out_by_position_each_to_one(desks: Desks, people: tuple[int, int, int]) -> None:
    first, second, third = desks.items()
    assert [desks.next(person) for person in people] == [first, second, third]
    assert desks.leases() == sorted(
        (item, person, 0, False, LEASE) for item, person in zip(desks.items(), people, strict=True)
    )
    assert [desks.next(person) for person in people] == [first, second, third], "each keeps the own one"


def test_asking_again_renews_the_lease(desks: Desks, clock: Clock, people: tuple[int, int, int]) -> None:
    desks.next(people[0])
    clock.forward(100)
    assert desks.leases()[0][4] == LEASE - 100
    desks.next(people[0])
    assert desks.leases()[0][4] == LEASE and len(desks.leases()) == 1


def test_a_lease_stands_until_its_time_and_not_a_second_longer(
    desks: Desks, clock: Clock, people: tuple[int, int, int]
) -> None:
    first, second, _ = desks.items()
    desks.next(people[0])
    clock.forward(LEASE - 1)
    assert desks.next(people[1]) == second
    clock.forward(1)
    assert desks.next(people[2]) == first
    assert (first, people[2], 0, False, LEASE) in desks.leases() and len(desks.leases()) == 2
    with pytest.raises(Conflict):
        desks.finish(first, people[0])


def test_an_answered_item_is_not_handed_out_again(desks: Desks, clock: Clock, people: tuple[int, int, int]) -> None:
    first, second, third = desks.items()
    desks.next(people[0])
    desks.finish(first, people[0])
    clock.forward(100 * LEASE)
    assert [desks.next(people[0]), desks.next(people[1]), desks.next(people[2])] == [second, third, None]
    with pytest.raises(Conflict):
        desks.take(first, people[2])
    assert desks.leases()[0][:4] == (first, people[0], 0, True)


def test_what_expired_stands_in_its_place_among_the_free(
    desks: Desks, clock: Clock, people: tuple[int, int, int]
) -> None:
    first, second, third = desks.items()
    desks.take(second, people[0])
    clock.forward(LEASE)
    assert desks.next(people[1]) == first, "a free item before an expired one that comes later"
    assert desks.next(people[2]) == second, "an expired one before a free one that comes later"
    assert desks.next(people[0]) == third


def test_of_two_held_the_one_touched_last_comes_first(desks: Desks, clock: Clock, people: tuple[int, int, int]) -> None:
    first, second, third = desks.items()
    for item in (third, second, first):
        desks.take(item, people[0])
    assert desks.next(people[0]) == first, "at the same moment the first by position"
    clock.forward(5)
    desks.take(third, people[0])
    assert desks.next(people[0]) == third
    desks.finish(third, people[0])
    assert desks.next(people[0]) == first
    assert {row[0]: row[4] for row in desks.leases()} == {first: LEASE, second: LEASE - 5, third: LEASE}


def test_slots_of_an_item_are_filled_from_the_lowest(
    database: Database, service: AnnotationService, clock: Clock, people: tuple[int, int, int]
) -> None:
    add_corpus(database, 1)
    desks = Desks(database, clock, campaign(service, k=3).id)
    (item,) = desks.items()
    for person in people:
        assert desks.next(person) == item
    assert [(row[1], row[2]) for row in desks.leases()] == [(person, n) for n, person in enumerate(people)]
    late = service.enter("丁").id
    assert desks.next(late) is None
    with pytest.raises(Conflict, match="Somebody else"):
        desks.take(item, late)
    desks.release(item, people[1])
    assert desks.next(late) == item
    assert sorted((row[1], row[2]) for row in desks.leases()) == sorted([(people[0], 0), (late, 1), (people[2], 2)])


def test_only_an_unfinished_lease_is_taken_over(
    database: Database, service: AnnotationService, clock: Clock, people: tuple[int, int, int]
) -> None:
    add_corpus(database, 1)
    desks = Desks(database, clock, campaign(service, k=2).id)
    (item,) = desks.items()
    desks.take(item, people[0])
    desks.finish(item, people[0])
    desks.take(item, people[1])
    clock.forward(LEASE)
    desks.take(item, people[2])
    assert [row[:4] for row in desks.leases()] == [(item, people[0], 0, True), (item, people[2], 1, False)]
    clock.forward(LEASE - 1)
    with pytest.raises(Conflict):
        desks.take(item, people[1])


def test_taking_an_own_finished_item_opens_it_again(desks: Desks, people: tuple[int, int, int]) -> None:
    first = desks.items()[0]
    desks.take(first, people[0])
    desks.finish(first, people[0])
    desks.take(first, people[0])
    assert desks.leases() == [(first, people[0], 0, False, LEASE)]
    desks.release(first, people[0])
    assert desks.leases() == []
    for undone in (desks.finish, desks.release):
        with pytest.raises(Conflict, match="not in your hands"):
            undone(first, people[0])


def test_what_somebody_finishes_or_releases_is_the_own_lease_alone(
    database: Database, service: AnnotationService, clock: Clock, people: tuple[int, int, int]
) -> None:
    add_corpus(database, 2)
    desks = Desks(database, clock, campaign(service, k=2).id)
    first, second = desks.items()
    for person in people[:2]:
        for item in (first, second):
            desks.take(item, person)
    desks.finish(first, people[0])
    desks.release(second, people[1])
    assert [row[:4] for row in desks.leases()] == [
        (first, people[0], 0, True),
        (first, people[1], 1, False),
        (second, people[0], 0, False),
    ]


def test_campaigns_do_not_meet(
    database: Database, service: AnnotationService, clock: Clock, people: tuple[int, int, int]
) -> None:
    add_corpus(database, 1)
    one = Desks(database, clock, campaign(service).id)
    two = Desks(database, clock, campaign(service, name="另一个").id)
    assert one.next(people[0]) == one.items()[0]
    assert two.next(people[0]) == two.items()[0], "what is held elsewhere is not what comes next here"
    assert two.next(people[1]) is None
    clock.forward(LEASE)
    assert one.next(people[1]) == one.items()[0]
    assert [row[:2] for row in one.leases()] == [(one.items()[0], people[1]), (two.items()[0], people[0])]


def test_a_skipped_item_stays_away_from_who_skipped_it(
    desks: Desks, service: AnnotationService, clock: Clock, people: tuple[int, int, int]
) -> None:
    first, second, _ = desks.items()
    desks.next(people[0])
    service.compare(ComparisonInput(desks.id, first, "skip", "s"), people[0])
    assert desks.leases() == []
    assert desks.next(people[1]) == first
    clock.forward(LEASE)
    assert desks.next(people[0]) == second, "not even where another one's lease on it has expired"
    service.undo(desks.id, people[0], "u")
    assert desks.next(people[0]) == first, "an undone skip is none any more"


def test_a_lease_that_changed_since_it_was_read_starts_anew(desks: Desks, people: tuple[int, int, int]) -> None:
    first = desks.items()[0]
    desks.take(first, people[0])
    with desks.database.write() as session, pytest.raises(WriteConflict):
        queue._update_lease(session, queue._RENEW_LEASE, lease=-1, rater=people[0], until=desks.clock.now)
    with desks.database.write() as session:
        held = session.scalars(select(Lease.id)).one()
        values = {"lease": held, "rater": people[1], "moment": desks.clock.now, "until": desks.clock.now}
        with pytest.raises(WriteConflict):
            queue._update_lease(session, queue._TAKE_OVER, **values)


# Answers ----------------------------------------------------------------------------------------------


def rows(database: Database, table: Any) -> list[Any]:
    with database.read() as session:
        return list(session.scalars(select(table).order_by(table.id)))


def test_an_answer_is_stored_as_given_on_the_sides_shown(
    desks: Desks, database: Database, service: AnnotationService, people: tuple[int, int, int]
) -> None:
    view = service.next_item(desks.id, people[0])
    assert view is not None and view.right is not None
    given = ComparisonInput(desks.id, view.item_id, "b", "r1", reasons=("cliche", "cliche"), seconds=2.5)
    saved = service.compare(given, people[0])
    (row,) = rows(database, Comparison)
    assert (saved.label_id, saved.revision, saved.created) == (row.id, 0, True)
    assert (row.rater_id, row.item_id, row.outcome, row.reasons) == (
        people[0], view.item_id, Outcome.B, ["cliche"],
    )  # fmt: skip
    assert (row.seconds, row.request_id, row.revision, row.supersedes_id) == (2.5, "r1", 0, None)
    with database.read() as session:
        item = session.get_one(Item, view.item_id)
        assert {row.left_id, row.right_id} == {item.greeting_a_id, item.greeting_b_id}
    again = service.compare(given, people[0])
    assert (again.label_id, again.revision, again.created) == (row.id, 0, False)
    with pytest.raises(Conflict):
        service.compare(ComparisonInput(desks.id, view.item_id, "a", "r2"), people[0])
    changed = service.compare(ComparisonInput(desks.id, view.item_id, "a", "r3", amends=0), people[0])
    assert changed.revision == 1 and rows(database, Comparison)[1].supersedes_id == row.id
    for wrong in (0, 2):
        with pytest.raises(Conflict):
            service.compare(ComparisonInput(desks.id, view.item_id, "b", f"w{wrong}", amends=wrong), people[0])
    assert desks.leases()[0][3] is True


def test_undo_puts_a_withdrawal_on_top_and_opens_the_item(
    desks: Desks, database: Database, service: AnnotationService, people: tuple[int, int, int]
) -> None:
    with pytest.raises(UserError, match="nothing to undo"):
        service.undo(desks.id, people[0], "u0")
    first, second, _ = desks.items()
    for item in (first, second):
        desks.take(item, people[0])
        service.compare(ComparisonInput(desks.id, item, "a", f"r{item}"), people[0])
    view = service.undo(desks.id, people[0], "u1")
    assert view.item_id == second
    answered, withdrawn = rows(database, Comparison)[1:]
    assert (withdrawn.outcome, withdrawn.reasons, withdrawn.revision) == (Outcome.WITHDRAWN, [], 1)
    assert (withdrawn.supersedes_id, withdrawn.request_id) == (answered.id, "u1")
    assert (withdrawn.left_id, withdrawn.right_id) == (answered.left_id, answered.right_id)
    assert (withdrawn.rater_id, withdrawn.item_id) == (people[0], second)
    assert [row[3] for row in desks.leases()] == [True, False]
    assert service.undo(desks.id, people[0], "u1").item_id == second, "the same request once more"
    assert len(rows(database, Comparison)) == 3
    assert service.undo(desks.id, people[0], "u2").item_id == first
    with pytest.raises(UserError, match="nothing to undo"):
        service.undo(desks.id, people[0], "u3")
    for request, person in ((f"r{first}", people[0]), ("u1", people[1])):
        with pytest.raises(Conflict, match="request_id"):
            service.undo(desks.id, person, request)


def test_undo_takes_back_the_own_answers_of_this_campaign_alone(
    database: Database, service: AnnotationService, clock: Clock, people: tuple[int, int, int]
) -> None:
    add_corpus(database, 1)
    one = Desks(database, clock, campaign(service, k=2).id)
    two = Desks(database, clock, campaign(service, k=2, name="另一个").id)
    for desks, person in ((one, people[0]), (one, people[1]), (two, people[0])):
        (item,) = desks.items()
        desks.take(item, person)
        service.compare(ComparisonInput(desks.id, item, "a", f"{desks.id}-{person}"), person)
    with pytest.raises(UserError):
        service.undo(two.id, people[1], "x")
    service.undo(one.id, people[0], "u")
    last = rows(database, Comparison)[-1]
    assert (last.rater_id, last.item_id, last.outcome) == (people[0], one.items()[0], Outcome.WITHDRAWN)
    with pytest.raises(Conflict, match="request_id"):
        service.undo(two.id, people[0], "u")


def test_a_verdict_its_review_and_both_withdrawn(
    database: Database, service: AnnotationService, clock: Clock, people: tuple[int, int, int]
) -> None:
    add_corpus(database, 2)
    judge = add_judge(database, "panel", greeting_ids(database))
    made = campaign(service, kind=CampaignKind.VALIDATE, judge="panel", rubric=True, k=1)
    desks, me = Desks(database, clock, made.id), people[0]
    item = desks.next(me)
    assert item is not None
    with pytest.raises(Conflict, match="nothing to review"):
        service.review(ReviewInput(made.id, item, True, "q0"), me)
    said = service.judge_blind(VerdictInput(made.id, item, 1, "v1", dimensions={"language": 3}), me)
    assert said.saved.created and said.reveal is not None
    own = next(row for row in rows(database, Verdict) if row.rater_id == me)
    assert (own.value, own.scale, own.dimensions) == (1.0, Scale.BINARY, {"language": 3})
    assert (own.request_id, own.withdrawn, own.revision) == ("v1", False, 0)
    service.review(ReviewInput(made.id, item, False, "q1", reason="太空"), me)
    (review,) = rows(database, Review)
    assert (review.agrees, review.reason, review.request_id) == (False, "太空", "q1")
    with database.read() as session:
        assert session.get_one(Verdict, review.verdict_id).rater_id == judge
    assert service.undo(made.id, me, "u1").item_id == item
    taken = rows(database, Verdict)[-1]
    assert (taken.withdrawn, taken.value, taken.supersedes_id, taken.revision) == (True, None, own.id, 1)
    assert (taken.greeting_id, taken.scale) == (own.greeting_id, Scale.BINARY)
    gone = rows(database, Review)[-1]
    assert (gone.withdrawn, gone.supersedes_id, gone.verdict_id) == (True, review.id, review.verdict_id)
    skipped = service.judge_blind(VerdictInput(made.id, item, None, "v2"), me)
    assert skipped.reveal is None, "who skips is shown nothing"
    assert desks.next(me) != item and item not in {row[0] for row in desks.leases()}
    after_all = service.judge_blind(VerdictInput(made.id, item, 0, "v3", amends=skipped.saved.revision), me)
    assert after_all.reveal is not None and rows(database, Verdict)[-1].value == 0.0
    assert (item, me, 0, True) in {row[:4] for row in desks.leases()}, "its slot is taken again"


def test_a_closed_campaign_another_kind_and_nobody(
    desks: Desks, database: Database, service: AnnotationService, people: tuple[int, int, int]
) -> None:
    with database.write() as session:
        assert isinstance(load_open_campaign(session, desks.id, people[0], CampaignKind.COMPARE), CampaignSnapshot)
        with pytest.raises(UserError, match="takes other answers"):
            load_open_campaign(session, desks.id, people[0], CampaignKind.VALIDATE)
        for campaign_id, rater in ((-1, people[0]), (desks.id, -1)):
            with pytest.raises(NotFound):
                load_campaign(session, campaign_id, rater)
        session.get_one(Campaign, desks.id).closed = True
        session.flush()
        assert load_campaign(session, desks.id, people[0]).closed
        with pytest.raises(Conflict, match="closed"):
            load_open_campaign(session, desks.id, people[0])
        assert session.scalars(select(Comparison).where(newest_rows(Comparison))).all() == []
