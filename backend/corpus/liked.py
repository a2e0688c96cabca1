"""Which greetings of the corpus people liked, for requests that only train.

A like is a person's verdict or a data set's label of 1 (or an excellent rubric), a comparison won, a pair in
which people or the corpus chose it, a click (imported, or of a visitor in the playground); a dislike is the
opposite. Judges have no say.
"""

from collections import Counter
from collections.abc import Iterator
from itertools import chain

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session, aliased

from backend.agents.example_index import LikedGreeting
from backend.corpus import assign_split
from backend.db.play_tables import PlayCard, PlayRound, PlaySignal
from backend.db.tables import ClickCount, Comparison, Greeting, PreferencePair, Prompt, Rater, Verdict
from backend.text import strip_white_space
from backend.vocabulary import RUBRIC_EXCELLENT, Outcome, RaterKind, Scale, Split
from backend.writing.near import normal_greeting, normal_prompt

HUMAN_RATER_KINDS = (RaterKind.HUMAN, RaterKind.DATASET)
HUMAN_PAIR_ORIGINS = ("import", "seed")
"""Pairs that people made; those that a panel made say what a judge likes."""
ROWS_PER_FETCH = 5_000

VoteCounts = Counter[int]


def collect_liked(session: Session) -> Iterator[tuple[str, LikedGreeting]]:
    """(request, greeting) with its likes, for every greeting that somebody liked or disliked.

    Left out: requests of the evaluation splits and such as say the same, and greetings that also stand there.
    """
    evaluation_prompts, evaluation_texts = _evaluation_texts(session)

    def is_training_text(prompt_text: str, greeting_text: str) -> bool:
        return (
            normal_greeting(greeting_text) not in evaluation_texts
            and normal_prompt(prompt_text) not in evaluation_prompts
        )

    for prompt, liked_greeting in chain(_collect_voted(session), _collect_clicked(session)):
        if strip_white_space(liked_greeting.greeting) and is_training_text(prompt, liked_greeting.greeting):
            yield prompt, liked_greeting


def _collect_voted(session: Session) -> Iterator[tuple[str, LikedGreeting]]:
    like_counts, dislike_counts = _count_votes(session)
    result_rows = session.execute(
        select(Greeting.id, Greeting.text, Prompt.text)
        .join(Prompt, Prompt.id == Greeting.prompt_id)
        .where(Prompt.split == Split.TRAIN)
        .order_by(Greeting.id)
        .execution_options(yield_per=ROWS_PER_FETCH)
    )
    for greeting_id, greeting_text, prompt_text in result_rows:
        if like_counts[greeting_id] or dislike_counts[greeting_id]:
            yield (
                prompt_text,
                LikedGreeting(greeting_text, like_counts[greeting_id], dislike_counts[greeting_id]),
            )


def _collect_clicked(session: Session) -> Iterator[tuple[str, LikedGreeting]]:
    newest_signals = select(func.max(PlaySignal.id)).group_by(PlaySignal.card_id, PlaySignal.visitor)
    result_rows = session.execute(
        select(
            PlayRound.prompt,
            PlayCard.text,
            func.sum(case((PlaySignal.value > 0, 1), else_=0)),
            func.sum(case((PlaySignal.value < 0, 1), else_=0)),
        )
        .join(PlayCard, PlayCard.round_id == PlayRound.id)
        .join(PlaySignal, PlaySignal.card_id == PlayCard.id)
        .where(PlaySignal.id.in_(newest_signals), PlaySignal.value != 0)
        .group_by(PlayRound.prompt, PlayCard.text)
        .order_by(PlayRound.prompt, PlayCard.text)
    )
    for prompt_text, greeting_text, like_count, dislike_count in result_rows:
        if assign_split(prompt_text) is Split.TRAIN:
            yield prompt_text, LikedGreeting(greeting_text, int(like_count), int(dislike_count))


def likes_stamp(session: Session) -> str:
    """Changes whenever likes or requests may have changed; cheap to ask for."""
    count_rows = [
        session.execute(select(func.count(), func.max(counted_table.id))).one()
        for counted_table in (Prompt, Greeting, Comparison, PreferencePair, PlaySignal)
    ]
    count_rows.append(session.execute(select(func.count(), func.sum(ClickCount.clicks))).one())
    verdict_counts = select(func.count(), func.max(Verdict.id)).join(Rater).where(Rater.kind.in_(HUMAN_RATER_KINDS))
    count_rows.append(session.execute(verdict_counts).one())
    return "-".join(str(count_value or 0) for count_row in count_rows for count_value in count_row)


def _evaluation_texts(session: Session) -> tuple[set[str], set[str]]:
    """Requests and greetings of the evaluation splits, normalised."""
    prompt_texts = session.scalars(select(Prompt.text).where(Prompt.split != Split.TRAIN))
    greeting_texts = session.scalars(
        select(Greeting.text)
        .join(Prompt, Prompt.id == Greeting.prompt_id)
        .where(Prompt.split != Split.TRAIN)
        .execution_options(yield_per=ROWS_PER_FETCH)
    )
    return {normal_prompt(stored_text) for stored_text in prompt_texts}, {
        normal_greeting(stored_text) for stored_text in greeting_texts
    }


def _count_votes(session: Session) -> tuple[VoteCounts, VoteCounts]:
    like_counts, dislike_counts = VoteCounts(), VoteCounts()
    for greeting_id, verdict_value, verdict_scale in _human_verdicts(session):
        is_positive = verdict_value >= RUBRIC_EXCELLENT if verdict_scale is Scale.RUBRIC else verdict_value > 0.5
        (like_counts if is_positive else dislike_counts)[greeting_id] += 1
    for left_id, right_id, choice in _human_comparisons(session):
        if choice in (Outcome.A, Outcome.BOTH_GOOD):
            like_counts[left_id] += 1
        if choice in (Outcome.B, Outcome.BOTH_GOOD):
            like_counts[right_id] += 1
        if choice in (Outcome.B, Outcome.BOTH_BAD):
            dislike_counts[left_id] += 1
        if choice in (Outcome.A, Outcome.BOTH_BAD):
            dislike_counts[right_id] += 1
    pair_statement = select(PreferencePair.chosen_id, PreferencePair.rejected_id)
    for chosen_id, rejected_id in session.execute(pair_statement.where(PreferencePair.origin.in_(HUMAN_PAIR_ORIGINS))):
        like_counts[chosen_id] += 1
        dislike_counts[rejected_id] += 1
    for greeting_id, click_count in session.execute(select(ClickCount.greeting_id, ClickCount.clicks)):
        like_counts[greeting_id] += click_count
    return like_counts, dislike_counts


def _human_verdicts(session: Session) -> Iterator[tuple[int, float, Scale]]:
    newer_revision = aliased(Verdict)
    statement = (
        select(Verdict.greeting_id, Verdict.value, Verdict.scale)
        .join(Rater, Rater.id == Verdict.rater_id)
        .outerjoin(newer_revision, newer_revision.supersedes_id == Verdict.id)
        .where(
            Rater.kind.in_(HUMAN_RATER_KINDS),
            Verdict.scale != Scale.SCORE,
            Verdict.value.is_not(None),
            Verdict.withdrawn.is_(False),
            newer_revision.id.is_(None),
        )
    )
    for greeting_id, verdict_value, verdict_scale in session.execute(statement):
        if verdict_value is not None:
            yield greeting_id, verdict_value, verdict_scale


def _human_comparisons(session: Session) -> Iterator[tuple[int, int, Outcome]]:
    newer_revision = aliased(Comparison)
    statement = (
        select(Comparison.left_id, Comparison.right_id, Comparison.outcome)
        .join(Rater, Rater.id == Comparison.rater_id)
        .outerjoin(newer_revision, newer_revision.supersedes_id == Comparison.id)
        .where(Rater.kind.in_(HUMAN_RATER_KINDS), newer_revision.id.is_(None))
    )
    for comparison_row in session.execute(statement):
        yield comparison_row[0], comparison_row[1], comparison_row[2]
