"""Answers, amendments, reviews and undo: appended, never overwritten, refused in one sentence."""

from dataclasses import replace

import pytest
from sqlalchemy import select

from backend.annotation.records import ComparisonInput, ItemView, ReviewInput, VerdictInput
from backend.annotation.service import AnnotationService
from backend.core.enums import CampaignKind, Outcome, Scale
from backend.core.errors import Conflict, NotFound, UserError
from backend.db.engine import Database
from backend.db.tables import Comparison, Item, Review, Verdict
from tests.annotation_helpers import LEASE, Clock, add_corpus, add_judge, campaign, greeting_ids


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def service(database: Database, clock: Clock) -> AnnotationService:
    add_corpus(database, 4)
    return AnnotationService(database, LEASE, clock)


def _next(service: AnnotationService, campaign_id: int, rater_id: int) -> ItemView:
    view = service.next_item(campaign_id, rater_id)
    assert view is not None
    return view


def _answer(service: AnnotationService, view: ItemView, rater: int, outcome: str, request: str) -> None:
    service.compare(ComparisonInput(view.campaign_id, view.item_id, outcome, request), rater)


def test_the_sides_are_stored_as_shown(database: Database, service: AnnotationService) -> None:
    made = campaign(service)
    me = service.enter("甲").id
    for number in range(4):
        view = _next(service, made.id, me)
        service.compare(
            ComparisonInput(made.id, view.item_id, "a", f"r{number}", ("cliche", "vague", "cliche"), 3.5), me
        )
        entry = service.history(view.item_id)[0]
        item = service.item(view.item_id)
        shown = {"A": item.a.text, "B": item.b.text if item.b else ""}
        assert entry.left is not None and shown[entry.left] == view.left
        assert entry.prefers == entry.left and entry.answer == "a"
        assert (entry.reasons, entry.seconds, entry.rater) == (("cliche", "vague"), 3.5, "甲")
        assert item.a.source == "human" and item.a.datasets == ("demo",)


@pytest.mark.parametrize(
    "changes",
    [
        {"outcome": "left"},
        {"outcome": "withdrawn"},
        {"outcome": ""},
        {"reasons": ("ugly",)},
        {"seconds": -1.0},
        {"seconds": float("nan")},
        {"request_id": ""},
        {"request_id": "a" * 65},
        {"request_id": "a b"},
        {"request_id": "名字"},
        {"item_id": 9_999},
        {"campaign_id": 9_999},
        {"amends": 0},
    ],
)
def test_hand_made_nonsense_is_refused_and_stores_nothing(
    database: Database, service: AnnotationService, changes: dict[str, object]
) -> None:
    made = campaign(service)
    me = service.enter("甲").id
    view = _next(service, made.id, me)
    good = ComparisonInput(made.id, view.item_id, "a", "r")
    with pytest.raises(UserError):
        service.compare(replace(good, **changes), me)  # type: ignore[arg-type]
    with database.read() as session:
        assert session.scalars(select(Comparison)).all() == []
    assert service.compare(good, me).created


def test_an_item_of_another_campaign_and_an_unknown_person_are_not_found(service: AnnotationService) -> None:
    made, other = campaign(service), campaign(service, name="另一个")
    me = service.enter("甲").id
    view = _next(service, made.id, me)
    with pytest.raises(NotFound):
        service.compare(ComparisonInput(other.id, view.item_id, "a", "r"), me)
    with pytest.raises(NotFound):
        service.compare(ComparisonInput(made.id, view.item_id, "a", "r"), 999)
    with pytest.raises(NotFound):
        service.history(9_999)


def test_a_request_is_stored_once_and_its_id_serves_nobody_else(service: AnnotationService) -> None:
    made = campaign(service, k=2)
    me, other = service.enter("甲").id, service.enter("乙").id
    view = _next(service, made.id, me)
    answer = ComparisonInput(made.id, view.item_id, "a", "same")
    first = service.compare(answer, me)
    again = service.compare(answer, me)
    assert (first.created, again.created, again.label_id) == (True, False, first.label_id)
    with pytest.raises(Conflict, match="answered this item"):
        service.compare(replace(answer, request_id="other"), me)
    theirs = _next(service, made.id, other)
    with pytest.raises(Conflict, match="another answer"):
        service.compare(ComparisonInput(made.id, theirs.item_id, "a", "same"), other)


def test_an_amendment_appends_and_both_stay_visible(service: AnnotationService) -> None:
    made = campaign(service)
    me = service.enter("甲").id
    view = _next(service, made.id, me)
    answer = ComparisonInput(made.id, view.item_id, "a", "r0")
    service.compare(answer, me)
    with pytest.raises(Conflict):
        service.compare(replace(answer, request_id="r1", amends=5), me)
    saved = service.compare(replace(answer, outcome="b", request_id="r1", amends=0), me)
    assert saved.revision == 1
    entries = service.history(view.item_id)
    assert [(entry.answer, entry.superseded) for entry in entries] == [("a", True), ("b", False)]
    assert service.progress(made.id, me).mine == 1


def test_amending_to_and_from_a_skip_moves_the_slot(service: AnnotationService) -> None:
    made = campaign(service, limit=1)
    me, other = service.enter("甲").id, service.enter("乙").id
    view = _next(service, made.id, me)
    answer = ComparisonInput(made.id, view.item_id, "a", "r0")
    service.compare(answer, me)
    assert service.next_item(made.id, other) is None
    service.compare(replace(answer, outcome="skip", request_id="r1", amends=0), me)
    assert _next(service, made.id, other).item_id == view.item_id
    with pytest.raises(Conflict, match="Somebody else"):
        service.compare(replace(answer, request_id="r2", amends=1), me)


def test_undo_gives_back_one_after_the_other(database: Database, service: AnnotationService) -> None:
    made = campaign(service)
    me = service.enter("甲").id
    views = []
    for number in range(3):
        views.append(_next(service, made.id, me))
        _answer(service, views[-1], me, "a", f"r{number}")
    held = _next(service, made.id, me)
    assert service.undo(made.id, me, "u1").item_id == views[2].item_id
    assert _next(service, made.id, me).item_id == views[2].item_id
    assert service.undo(made.id, me, "u2").item_id == views[1].item_id
    assert service.undo(made.id, me, "u2").item_id == views[1].item_id
    assert service.progress(made.id, me).mine == 1
    assert service.undo(made.id, me, "u3").left == views[0].left
    with pytest.raises(UserError, match="nothing to undo"):
        service.undo(made.id, me, "u4")
    seen = set()
    for number in range(4):
        view = _next(service, made.id, me)
        seen.add(view.item_id)
        _answer(service, view, me, "b", f"again{number}")
    assert seen == {*(view.item_id for view in views), held.item_id}
    assert service.next_item(made.id, me) is None
    with database.read() as session:
        rows = session.scalars(
            select(Comparison).where(Comparison.item_id == views[0].item_id).order_by(Comparison.revision)
        ).all()
        assert [row.outcome for row in rows] == [Outcome.A, Outcome.WITHDRAWN, Outcome.B]
        assert [row.supersedes_id for row in rows] == [None, rows[0].id, rows[1].id]


def test_the_item_undone_last_comes_first_although_another_is_held(service: AnnotationService, clock: Clock) -> None:
    made = campaign(service, k=2)
    me = service.enter("甲").id
    first = _next(service, made.id, me)
    _answer(service, first, me, "a", "r0")
    clock.forward(1)
    held = _next(service, made.id, me)
    clock.forward(1)
    service.undo(made.id, me, "u")
    assert _next(service, made.id, me).item_id == first.item_id
    _answer(service, first, me, "b", "r1")
    assert _next(service, made.id, me).item_id == held.item_id


def test_undoing_a_skip_needs_a_free_slot(service: AnnotationService) -> None:
    made = campaign(service, limit=1)
    me, other = service.enter("甲").id, service.enter("乙").id
    view = _next(service, made.id, me)
    _answer(service, view, me, "skip", "s")
    assert service.undo(made.id, me, "u1").item_id == view.item_id
    _answer(service, view, me, "skip", "s2")
    _next(service, made.id, other)
    with pytest.raises(Conflict, match="Somebody else"):
        service.undo(made.id, me, "u2")
    assert service.history(view.item_id)[-1].answer == "skip"


@pytest.fixture
def judged(database: Database, service: AnnotationService) -> int:
    add_judge(database, "panel", greeting_ids(database))
    return campaign(service, kind=CampaignKind.VALIDATE, judge="panel", rubric=True, name="验证").id


def test_the_judge_is_shown_only_after_the_own_verdict(
    database: Database, service: AnnotationService, judged: int
) -> None:
    me = service.enter("甲").id
    view = _next(service, judged, me)
    assert view.reveal is None and view.right is None and view.rubric
    early = ReviewInput(judged, view.item_id, True, "early")
    with pytest.raises(Conflict, match="your own verdict comes first"):
        service.review(early, me)
    dimensions = {"language": 3, "creativity": 1, "emotion": 2, "culture": 2, "richness": 1}
    given = VerdictInput(judged, view.item_id, 0, "v", dimensions)
    told = service.judge_blind(given, me)
    assert told.reveal is not None
    assert (told.reveal.value, told.reveal.reason, told.reveal.scale) == (1.0, "裁判的秘密理由", Scale.BINARY)
    assert service.judge_blind(given, me).saved.created is False
    waiting = _next(service, judged, me)
    assert (waiting.item_id, waiting.reveal) == (view.item_id, told.reveal)
    review = ReviewInput(judged, view.item_id, False, "w", "太套路")
    assert service.review(review, me).created
    assert service.review(review, me).created is False
    with pytest.raises(Conflict):
        service.review(replace(review, request_id="w2"), me)
    assert _next(service, judged, me).item_id != view.item_id
    with database.read() as session:
        stored = session.scalars(select(Verdict).where(Verdict.item_id == view.item_id)).one()
        said = session.scalars(select(Review)).one()
        assert (stored.value, stored.dimensions, stored.scale) == (0.0, dimensions, Scale.BINARY)
        assert (said.agrees, said.reason) == (False, "太套路")


def test_undo_withdraws_the_review_with_its_verdict(
    database: Database, service: AnnotationService, judged: int
) -> None:
    me = service.enter("甲").id
    view = _next(service, judged, me)
    service.judge_blind(VerdictInput(judged, view.item_id, 1, "v"), me)
    service.review(ReviewInput(judged, view.item_id, True, "w"), me)
    back = service.undo(judged, me, "u")
    assert (back.item_id, back.reveal) == (view.item_id, None)
    assert [entry.answer for entry in service.history(view.item_id)] == [
        "1",
        "agree",
        "withdrawn",
        "withdrawn",
    ]
    told = service.judge_blind(VerdictInput(judged, view.item_id, 0, "v2"), me)
    assert told.reveal is not None and told.saved.revision == 2
    assert service.review(ReviewInput(judged, view.item_id, None, "w2"), me).revision == 2


def test_without_a_judge_only_the_blind_half_is_asked(database: Database, service: AnnotationService) -> None:
    made = campaign(service, kind=CampaignKind.VALIDATE)
    me = service.enter("甲").id
    view = _next(service, made.id, me)
    told = service.judge_blind(VerdictInput(made.id, view.item_id, 1, "v"), me)
    assert told.reveal is None
    assert _next(service, made.id, me).item_id != view.item_id
    with pytest.raises(UserError, match="no dimensions"):
        service.judge_blind(VerdictInput(made.id, _next(service, made.id, me).item_id, 1, "w", {"language": 3}), me)


def test_a_skipped_validate_item_is_an_empty_verdict(
    database: Database, service: AnnotationService, judged: int
) -> None:
    me, other = service.enter("甲").id, service.enter("乙").id
    view = _next(service, judged, me)
    assert service.judge_blind(VerdictInput(judged, view.item_id, None, "v"), me).reveal is None
    assert _next(service, judged, me).item_id != view.item_id
    assert _next(service, judged, other).item_id == view.item_id
    assert service.history(view.item_id)[0].answer == "skip"
    with database.read() as session:
        assert session.get_one(Item, view.item_id)


@pytest.mark.parametrize(
    "changes",
    [
        {"value": 2},
        {"value": True},
        {"value": 0.5},
        {"dimensions": {"beauty": 2}},
        {"dimensions": {"language": 4}},
        {"dimensions": {"language": 0}},
        {"dimensions": {"language": "3"}},
        {"request_id": "a/b"},
    ],
)
def test_a_wrong_verdict_is_refused(service: AnnotationService, judged: int, changes: dict[str, object]) -> None:
    me = service.enter("甲").id
    view = _next(service, judged, me)
    with pytest.raises(UserError):
        service.judge_blind(replace(VerdictInput(judged, view.item_id, 1, "v"), **changes), me)  # type: ignore[arg-type]


def test_a_compare_campaign_takes_no_verdicts(service: AnnotationService) -> None:
    made = campaign(service)
    me = service.enter("甲").id
    view = _next(service, made.id, me)
    with pytest.raises(UserError, match="takes no verdicts"):
        service.judge_blind(VerdictInput(made.id, view.item_id, 1, "v"), me)
