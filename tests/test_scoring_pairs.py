"""Pairwise verdicts on a campaign: stored as comparisons, read as margins, never taken for people's."""

from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.annotation.records import CampaignSpec
from backend.core.enums import CampaignKind, Outcome, RaterKind
from backend.db.tables import Comparison, Greeting, Item, Rater
from backend.judges.scoring.records import ScoringRunState
from backend.judges.scoring.targets import FLIP_REASON, ScoringTarget, TargetKind
from backend.services import Services
from tests.fake_llm import quality
from tests.llm_fixtures import FakeLLM
from tests.scoring_helpers import comparisons, house, request

ROUND = ScoringTarget(TargetKind.CAMPAIGN, "一轮")
PAIRS = 12


def with_campaign(services: Services) -> None:
    """Pairs to compare."""
    services.annotation.create_campaign(
        CampaignSpec(
            name=ROUND.name,
            kind=CampaignKind.COMPARE,
            k=1,
            instructions="",
            rubric=False,
            datasets=("data",),
            occasion=None,
            recipient=None,
            style=None,
            limit=PAIRS,
            seed=1,
            judge=None,
        )
    )


def answered_by_a_person(services: Services) -> None:
    """Somebody prefers what the hidden quality prefers, and calls the rest equally good."""
    with services.database.write() as session:
        rater = Rater(kind=RaterKind.HUMAN, name="测试者", version="")
        session.add(rater)
        session.flush()
        for item, (a, b) in items(session):
            outcome = Outcome.BOTH_GOOD if a == b else Outcome.A if a > b else Outcome.B
            answer = {"left_id": item.greeting_a_id, "right_id": item.greeting_b_id, "outcome": outcome}
            session.add(Comparison(rater_id=rater.id, item_id=item.id, request_id=f"human-{item.id}", **answer))


def items(session: Session) -> list[tuple[Item, tuple[int, int]]]:
    """The items with the hidden quality of both greetings."""
    rows = session.scalars(select(Item).order_by(Item.position)).all()
    text = {greeting.id: greeting.text for greeting in session.scalars(select(Greeting))}
    return [(i, (quality(text[i.greeting_a_id]), quality(text[i.greeting_b_id or 0]))) for i in rows]


def test_outcomes_are_stored_as_comparisons_of_the_judge(home: Path, fake_llm: FakeLLM):
    fake_llm.script(reply="tests.judge_replies:better")
    with house(fake_llm, 60) as services:
        with_campaign(services)
        first = services.scoring.run(request(services, "pairwise", ROUND))
        again = services.scoring.run(request(services, "pairwise", ROUND))
        stored = comparisons(services)
        with services.database.read() as session:
            wanted = {item.id: Outcome.A if a > b else Outcome.B for item, (a, b) in items(session) if a != b}
        info = services.scoring.catalog.judges()[0]
    assert (first.state, first.scored, first.calls) == (ScoringRunState.DONE, PAIRS, 2 * PAIRS)
    assert (again.calls, again.cached) == (0, PAIRS) and len(stored) == PAIRS
    assert {row.item_id: row.outcome for row in stored if row.item_id in wanted} == wanted
    assert {row.outcome for row in stored if row.item_id not in wanted} <= {Outcome.BOTH_GOOD}
    assert (info.scored, info.unscored, info.scale) == (PAIRS, 0, None) and info.cost > 0


def test_the_board_reads_them_as_margins_and_people_stay_the_only_reference(home: Path, fake_llm: FakeLLM):
    fake_llm.script(reply="tests.judge_replies:better")
    with house(fake_llm, 60) as services:
        with_campaign(services)
        services.scoring.run(request(services, "pairwise", ROUND))
        assert ROUND.name not in {info.name for info in services.board.references()}
        answered_by_a_person(services)
        board = services.board.board(ROUND.name)
        info = next(one for one in services.board.references() if one.name == ROUND.name)
    row = next(row for row in board.rows if row.judge == "pairwise")
    assert (board.raters, board.items, info.labels) == (1, PAIRS, PAIRS)
    assert (row.n, row.unscored, row.spearman.value) == (PAIRS, 0, pytest.approx(1.0))


def test_a_judge_that_likes_the_first_place_is_seen_as_flips(home: Path, fake_llm: FakeLLM):
    fake_llm.script(reply="tests.judge_replies:first_place")
    with house(fake_llm, 60) as services:
        with_campaign(services)
        services.scoring.run(request(services, "pairwise", ROUND))
        stored = comparisons(services)
    assert {row.outcome for row in stored} == {Outcome.BOTH_GOOD}
    assert all(row.reasons[0] == FLIP_REASON for row in stored)


def test_unscored_pairs_are_no_ties_and_can_be_tried_again(home: Path, fake_llm: FakeLLM):
    fake_llm.script(reply="chatter")
    with house(fake_llm, 60) as services:
        with_campaign(services)
        answered_by_a_person(services)
        first = services.scoring.run(request(services, "pairwise", ROUND))
        row = next(row for row in services.board.board(ROUND.name).rows if row.judge == "pairwise")
        fake_llm.script(reply="tests.judge_replies:better")
        second = services.scoring.run(request(services, "pairwise", ROUND, retry_unscored=True))
        after = next(row for row in services.board.board(ROUND.name).rows if row.judge == "pairwise")
        stored = comparisons(services)
    assert (first.scored, first.unscored) == (0, PAIRS)
    assert (row.n, row.unscored) == (0, PAIRS)
    assert (second.scored, second.unscored) == (PAIRS, 0)
    assert (after.n, after.unscored) == (PAIRS, 0)
    assert len(stored) == 2 * PAIRS and {row.outcome for row in stored[::2]} == {Outcome.SKIP}


def test_a_judge_of_single_greetings_judges_both_sides_of_a_campaign(home: Path, fake_llm: FakeLLM):
    with house(fake_llm, 60) as services:
        with_campaign(services)
        answered_by_a_person(services)
        final = services.scoring.run(request(services, "principle", ROUND))
        rows = {row.judge: row for row in services.board.board(ROUND.name).rows}
    assert final.items == final.scored == 2 * PAIRS
    assert rows["principle"].n == PAIRS and rows["principle"].spearman.value == pytest.approx(1.0)
