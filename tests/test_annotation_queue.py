"""Leases: held, expired, taken over, never more than k."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select

from backend.annotation.records import ComparisonInput, ItemView
from backend.annotation.service import AnnotationService
from backend.core.errors import Conflict
from backend.db.engine import Database
from backend.db.tables import Comparison, Lease
from tests.annotation_helpers import LEASE, Clock, add_corpus, campaign
from tests.annotation_helpers import clock as clock
from tests.annotation_helpers import service as service
from tests.postgres import EITHER

pytestmark = [pytest.mark.database, EITHER]


def _next(service: AnnotationService, campaign_id: int, rater_id: int) -> ItemView:
    view = service.next_item(campaign_id, rater_id)
    assert view is not None
    return view


def test_reload_and_second_tab_show_the_same_item(database: Database, service: AnnotationService) -> None:
    add_corpus(database, 3)
    made = campaign(service)
    me, other = service.enter("甲").id, service.enter("乙").id
    first = _next(service, made.id, me)
    assert _next(service, made.id, me) == first
    assert _next(service, made.id, other).item_id != first.item_id


def test_the_view_is_blind_and_sides_depend_on_the_rater(database: Database, service: AnnotationService) -> None:
    add_corpus(database, 1)
    made = campaign(service, k=20)
    lefts = Counter(_next(service, made.id, service.enter(f"人{n}").id).left for n in range(20))
    assert len(lefts) == 2
    assert set(ItemView.__dataclass_fields__) == {
        "item_id",
        "campaign_id",
        "kind",
        "prompt",
        "left",
        "right",
        "rubric",
        "progress",
        "reveal",
    }


def test_an_expired_lease_goes_to_the_next_and_the_late_answer_is_refused(
    database: Database, service: AnnotationService, clock: Clock
) -> None:
    add_corpus(database, 2)
    made = campaign(service)
    late, quick = service.enter("慢").id, service.enter("快").id
    item = _next(service, made.id, late).item_id
    clock.forward(LEASE + 1)
    assert _next(service, made.id, quick).item_id == item
    with pytest.raises(Conflict, match="not in your hands"):
        service.compare(ComparisonInput(made.id, item, "a", "late"), late)
    service.compare(ComparisonInput(made.id, item, "b", "quick"), quick)
    assert _next(service, made.id, late).item_id != item


def test_a_late_answer_counts_where_nobody_took_over(
    database: Database, service: AnnotationService, clock: Clock
) -> None:
    add_corpus(database, 1)
    made = campaign(service)
    me = service.enter("慢").id
    item = _next(service, made.id, me).item_id
    clock.forward(10 * LEASE)
    assert service.compare(ComparisonInput(made.id, item, "a", "late"), me).created


def test_an_item_that_was_never_handed_out_takes_no_answer(database: Database, service: AnnotationService) -> None:
    add_corpus(database, 2)
    made = campaign(service)
    me = service.enter("甲").id
    other = service.enter("乙").id
    item = _next(service, made.id, other).item_id
    with pytest.raises(Conflict, match="not in your hands"):
        service.compare(ComparisonInput(made.id, item, "a", "x"), me)


def test_a_skip_frees_the_slot_for_others_and_is_never_offered_again(
    database: Database, service: AnnotationService
) -> None:
    add_corpus(database, 2)
    made = campaign(service)
    me, other = service.enter("甲").id, service.enter("乙").id
    first = _next(service, made.id, me).item_id
    service.compare(ComparisonInput(made.id, first, "skip", "s1"), me)
    second = _next(service, made.id, me).item_id
    assert second != first
    assert _next(service, made.id, other).item_id == first
    service.compare(ComparisonInput(made.id, second, "skip", "s2"), me)
    assert service.next_item(made.id, me) is None
    progress = service.progress(made.id, me)
    assert (progress.done, progress.mine, progress.left_for_me, progress.total) == (0, 0, 0, 2)


def test_eight_threads_label_everything_exactly_k_times(database: Database) -> None:
    add_corpus(database, 40)
    service = AnnotationService(database, LEASE)
    made = campaign(service, k=3)
    start = threading.Barrier(8)

    def work(number: int) -> int:
        rater = service.enter(f"人{number}").id
        start.wait()
        done = 0
        while (view := service.next_item(made.id, rater)) is not None:
            answer = ComparisonInput(made.id, view.item_id, "a", f"{number}-{view.item_id}")
            done += service.compare(answer, rater).created
        return done

    with ThreadPoolExecutor(8) as pool:
        total = sum(pool.map(work, range(8)))
    with database.read() as session:
        per_item = Counter(session.scalars(select(Comparison.item_id)))
        leases = Counter(session.scalars(select(Lease.item_id)))
    assert total == 120
    assert set(per_item.values()) == set(leases.values()) == {3}
    assert service.campaigns()[0].finished == 40


def test_the_same_request_from_many_threads_is_stored_once(database: Database) -> None:
    add_corpus(database, 1)
    service = AnnotationService(database, LEASE)
    made = campaign(service)
    me = service.enter("甲").id
    item = _next(service, made.id, me).item_id
    start = threading.Barrier(8)

    def send(_: int) -> tuple[int, bool]:
        start.wait()
        saved = service.compare(ComparisonInput(made.id, item, "b", "once"), me)
        return saved.label_id, saved.created

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(send, range(8)))
    assert len({label for label, _ in answers}) == 1
    assert sum(created for _, created in answers) == 1
