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

from backend.agents.example_index import Liked
from backend.corpus import split_of
from backend.db.play_tables import PlayCard, PlayRound, PlaySignal
from backend.db.tables import ClickCount, Comparison, Greeting, PreferencePair, Prompt, Rater, Verdict
from backend.text import squeeze
from backend.vocabulary import RUBRIC_EXCELLENT, Outcome, RaterKind, Scale, Split
from backend.writing.near import normal_greeting, normal_prompt

PEOPLE = (RaterKind.HUMAN, RaterKind.DATASET)
ORIGINS = ("import", "seed")
"""Pairs that people made; those that a panel made say what a judge likes."""
ROWS = 5_000

Votes = Counter[int]


def liked(session: Session) -> Iterator[tuple[str, Liked]]:
    """(request, greeting) with its likes, for every greeting that somebody liked or disliked.

    Left out: requests of the evaluation splits and such as say the same, and greetings that also stand there.
    """
    asked, said = _evaluated(session)

    def trains(prompt: str, text: str) -> bool:
        return normal_greeting(text) not in said and normal_prompt(prompt) not in asked

    for prompt, one in chain(_voted(session), _clicked(session)):
        if squeeze(one.greeting) and trains(prompt, one.greeting):
            yield prompt, one


def _voted(session: Session) -> Iterator[tuple[str, Liked]]:
    likes, dislikes = _votes(session)
    rows = session.execute(
        select(Greeting.id, Greeting.text, Prompt.text)
        .join(Prompt, Prompt.id == Greeting.prompt_id)
        .where(Prompt.split == Split.TRAIN)
        .order_by(Greeting.id)
        .execution_options(yield_per=ROWS)
    )
    for id_, text, prompt in rows:
        if likes[id_] or dislikes[id_]:
            yield prompt, Liked(text, likes[id_], dislikes[id_])


def _clicked(session: Session) -> Iterator[tuple[str, Liked]]:
    newest = select(func.max(PlaySignal.id)).group_by(PlaySignal.card_id, PlaySignal.visitor)
    rows = session.execute(
        select(
            PlayRound.prompt,
            PlayCard.text,
            func.sum(case((PlaySignal.value > 0, 1), else_=0)),
            func.sum(case((PlaySignal.value < 0, 1), else_=0)),
        )
        .join(PlayCard, PlayCard.round_id == PlayRound.id)
        .join(PlaySignal, PlaySignal.card_id == PlayCard.id)
        .where(PlaySignal.id.in_(newest), PlaySignal.value != 0)
        .group_by(PlayRound.prompt, PlayCard.text)
        .order_by(PlayRound.prompt, PlayCard.text)
    )
    for prompt, text, likes, dislikes in rows:
        if split_of(prompt) is Split.TRAIN:
            yield prompt, Liked(text, int(likes), int(dislikes))


def stamp(session: Session) -> str:
    """Changes whenever likes or requests may have changed; cheap to ask for."""
    counted = [
        session.execute(select(func.count(), func.max(table.id))).one()
        for table in (Prompt, Greeting, Comparison, PreferencePair, PlaySignal)
    ]
    counted.append(session.execute(select(func.count(), func.sum(ClickCount.clicks))).one())
    verdicts = select(func.count(), func.max(Verdict.id)).join(Rater).where(Rater.kind.in_(PEOPLE))
    counted.append(session.execute(verdicts).one())
    return "-".join(str(value or 0) for row in counted for value in row)


def _evaluated(session: Session) -> tuple[set[str], set[str]]:
    """Requests and greetings of the evaluation splits, normalised."""
    prompts = session.scalars(select(Prompt.text).where(Prompt.split != Split.TRAIN))
    texts = session.scalars(
        select(Greeting.text)
        .join(Prompt, Prompt.id == Greeting.prompt_id)
        .where(Prompt.split != Split.TRAIN)
        .execution_options(yield_per=ROWS)
    )
    return {normal_prompt(one) for one in prompts}, {normal_greeting(one) for one in texts}


def _votes(session: Session) -> tuple[Votes, Votes]:
    likes, dislikes = Votes(), Votes()
    for greeting, value, scale in _verdicts(session):
        excellent = value >= RUBRIC_EXCELLENT if scale is Scale.RUBRIC else value > 0.5
        (likes if excellent else dislikes)[greeting] += 1
    for left, right, outcome in _comparisons(session):
        if outcome in (Outcome.A, Outcome.BOTH_GOOD):
            likes[left] += 1
        if outcome in (Outcome.B, Outcome.BOTH_GOOD):
            likes[right] += 1
        if outcome in (Outcome.B, Outcome.BOTH_BAD):
            dislikes[left] += 1
        if outcome in (Outcome.A, Outcome.BOTH_BAD):
            dislikes[right] += 1
    pairs = select(PreferencePair.chosen_id, PreferencePair.rejected_id)
    for chosen, rejected in session.execute(pairs.where(PreferencePair.origin.in_(ORIGINS))):
        likes[chosen] += 1
        dislikes[rejected] += 1
    for greeting, clicks in session.execute(select(ClickCount.greeting_id, ClickCount.clicks)):
        likes[greeting] += clicks
    return likes, dislikes


def _verdicts(session: Session) -> Iterator[tuple[int, float, Scale]]:
    newer = aliased(Verdict)
    query = (
        select(Verdict.greeting_id, Verdict.value, Verdict.scale)
        .join(Rater, Rater.id == Verdict.rater_id)
        .outerjoin(newer, newer.supersedes_id == Verdict.id)
        .where(
            Rater.kind.in_(PEOPLE),
            Verdict.scale != Scale.SCORE,
            Verdict.value.is_not(None),
            Verdict.withdrawn.is_(False),
            newer.id.is_(None),
        )
    )
    for greeting, value, scale in session.execute(query):
        if value is not None:
            yield greeting, value, scale


def _comparisons(session: Session) -> Iterator[tuple[int, int, Outcome]]:
    newer = aliased(Comparison)
    query = (
        select(Comparison.left_id, Comparison.right_id, Comparison.outcome)
        .join(Rater, Rater.id == Comparison.rater_id)
        .outerjoin(newer, newer.supersedes_id == Comparison.id)
        .where(Rater.kind.in_(PEOPLE), newer.id.is_(None))
    )
    for row in session.execute(query):
        yield row[0], row[1], row[2]
