"""Withdrawn answers: nobody reads one, even where its row still holds a value."""

from collections import Counter
from collections.abc import Callable

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.agreement.reference import read_reference
from backend.core.enums import CampaignKind, Outcome, RaterKind, Scale
from backend.corpus.browse import count_records
from backend.corpus.collect import ExportScope, collect_labels, collect_pairs
from backend.db.queries import current_rows, newest_rows
from backend.db.tables import Campaign, Comparison, Greeting, Item, Rater, Review, Verdict
from backend.judges.context import _build_training_pool
from backend.judges.examples import _count_votes
from backend.judges.scoring.catalog import load_opinion_pairs
from backend.preferences.review import votes_by_greeting
from backend.services import Services
from backend.training.snapshot import _judged_entries
from tests.scoring_helpers import data_file

pytestmark = pytest.mark.database

ITEMS = 4


def withdraw_verdict(session: Session, verdict: Verdict) -> None:
    """Append the row that takes a verdict back. Unlike the page, leave its value in it."""
    verdict_columns = {"rater_id": verdict.rater_id, "greeting_id": verdict.greeting_id, "item_id": verdict.item_id}
    session.add(
        Verdict(
            **verdict_columns,
            value=verdict.value,
            scale=verdict.scale,
            revision=verdict.revision + 1,
            supersedes_id=verdict.id,
            withdrawn=True,
        )
    )
    session.flush()


def withdraw_comparison(session: Session, comparison: Comparison) -> None:
    """Append the row that takes a comparison back."""
    session.add(
        Comparison(
            rater_id=comparison.rater_id,
            item_id=comparison.item_id,
            left_id=comparison.left_id,
            right_id=comparison.right_id,
            outcome=Outcome.WITHDRAWN,
            revision=comparison.revision + 1,
            supersedes_id=comparison.id,
            request_id=f"withdrawn-{comparison.id}",
        )
    )
    session.flush()


def annotate(session: Session, kind: CampaignKind) -> int:
    """A campaign of one kind on the first two greetings, answered by one person; its id."""
    first, second = session.scalars(select(Greeting).order_by(Greeting.id).limit(2)).all()
    campaign = Campaign(name=kind.value, kind=kind, k=1)
    person = Rater(kind=RaterKind.HUMAN, name=f"person {kind.value}")
    session.add_all([campaign, person])
    session.flush()
    item = Item(
        campaign_id=campaign.id,
        position=0,
        prompt_id=first.prompt_id,
        greeting_a_id=first.id,
        greeting_b_id=second.id if kind is CampaignKind.COMPARE else None,
    )
    session.add(item)
    session.flush()
    answer_key = {"rater_id": person.id, "item_id": item.id}
    if kind is CampaignKind.COMPARE:
        sides = {"left_id": first.id, "right_id": second.id}
        session.add(Comparison(**answer_key, **sides, outcome=Outcome.A, request_id="comparison"))
    else:
        session.add(Verdict(**answer_key, greeting_id=first.id, value=0.0, scale=Scale.BINARY))
    session.flush()
    return campaign.id


def add_judge(session: Session, name: str) -> int:
    """A judge that finds the first greeting good; the id of its rater."""
    judge = Rater(kind=RaterKind.JUDGE, name=name, version="1", config={"scale": "binary"})
    session.add(judge)
    session.flush()
    session.add(
        Verdict(
            rater_id=judge.id, greeting_id=session.scalars(select(Greeting.id)).first(), value=1.0, scale=Scale.BINARY
        )
    )
    session.flush()
    return judge.id


def withdraw_all(session: Session) -> None:
    """Take back everything that anybody said."""
    for verdict in session.scalars(select(Verdict)).all():
        withdraw_verdict(session, verdict)
    for comparison in session.scalars(select(Comparison)).all():
        withdraw_comparison(session, comparison)


@pytest.mark.parametrize(
    ("count_answers", "before"),
    [
        (lambda session: len(list(collect_labels(session, ExportScope(), Counter()))), ITEMS),
        (lambda session: len(list(collect_pairs(session, ExportScope(), Counter()))), 1),
        (lambda session: count_records(session)["labels"], ITEMS + 1),
        (lambda session: count_records(session)["comparisons"], 1),
        (lambda session: count_records(session)["verdicts"], ITEMS + 3),
        (lambda session: len(_judged_entries(session)), ITEMS),
        (lambda session: len(_build_training_pool(session).labels), ITEMS),
        (lambda session: sum(sum(counts.values()) for counts in _count_votes(session)), ITEMS + 3),
        (lambda session: len(read_reference(session, "data").units), ITEMS),
        (lambda session: read_reference(session, "compare").matrix.size, 1),
        (lambda session: read_reference(session, "validate").matrix.size, 1),
        (lambda session: len(votes_by_greeting(session, campaign_id(session, "validate"))), 1),
        (lambda session: count_opinion_pairs(session), 1),
    ],
    ids=[
        "exported labels",
        "exported pairs",
        "labels counted",
        "comparisons counted",
        "verdicts counted",
        "labels of the training data",
        "labels that baselines learn from",
        "likes of the examples",
        "data set as reference",
        "comparisons as reference",
        "verdicts as reference",
        "votes on pairs",
        "judges side by side",
    ],
)
def test_a_withdrawn_answer_is_none_although_its_value_is_there(
    services: Services, count_answers: Callable[[Session], int], before: int
) -> None:
    services.corpus.import_file(data_file(services.settings.home, ITEMS))
    with services.database.write() as session:
        for kind in CampaignKind:
            annotate(session, kind)
        for name in ("first", "second"):
            add_judge(session, name)
        assert count_answers(session) == before
        withdraw_all(session)
        assert count_answers(session) == 0


def campaign_id(session: Session, name: str) -> int:
    """The number of a campaign."""
    return session.scalars(select(Campaign.id).where(Campaign.name == name)).one()


def count_opinion_pairs(session: Session) -> int:
    """On how many greetings the two judges stand side by side."""
    judges = [session.scalars(select(Rater.id).where(Rater.name == name)).one() for name in ("first", "second")]
    return load_opinion_pairs(session, *judges, only_disagreements=False, offset=0, limit=10).total


def test_the_end_of_a_chain_and_the_answer_of_now_part_where_it_was_withdrawn(services: Services) -> None:
    services.corpus.import_file(data_file(services.settings.home, ITEMS))
    with services.database.write() as session:
        annotate(session, CampaignKind.VALIDATE)
        verdict = session.scalars(select(Verdict).where(Verdict.item_id.is_not(None))).one()
        review_key = {"rater_id": verdict.rater_id, "item_id": verdict.item_id, "verdict_id": verdict.id}
        session.add(Review(**review_key, agrees=True, request_id="review"))
        session.flush()
        review = session.scalars(select(Review)).one()
        assert session.scalars(select(Review).where(current_rows(Review))).all() == [review]
        session.add(Review(**review_key, revision=1, supersedes_id=review.id, withdrawn=True, request_id="undo"))
        session.flush()
        assert session.scalars(select(Review).where(current_rows(Review))).all() == []
        assert [row.withdrawn for row in session.scalars(select(Review).where(newest_rows(Review)))] == [True]
