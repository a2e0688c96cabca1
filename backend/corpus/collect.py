"""Which pairs and labels there are to export: what is stored, and what people decided by majority.

Rows come prompt by prompt, so that what several sources say of the same greetings is merged, and dropped
where they contradict each other, with no more than one prompt in memory.
"""

import heapq
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.corpus.browse import current_comparison, current_verdict
from backend.db.tables import Comparison, Greeting, Item, PreferencePair, Prompt, Rater, Verdict
from backend.pairs.vocabulary import LABELLED_BY_JUDGE
from backend.vocabulary import RUBRIC_EXCELLENT, Outcome, RaterKind, Scale

Record = dict[str, Any]
Dropped = Counter[str]

_BATCH = 500


@dataclass(frozen=True)
class Scope:
    """What to export: the given data set and campaign, or everything where neither is given.

    Everything means what people decided or brought: pairs that only a judge labelled belong in where `panel`
    asks for them. A data set that is named always comes whole.
    """

    dataset_id: int | None = None
    dataset: str | None = None
    campaign_id: int | None = None
    panel: bool = False

    @property
    def stored(self) -> bool:
        """Whether what data sets hold belongs in."""
        return self.campaign_id is None or self.dataset_id is not None

    @property
    def voted(self) -> bool:
        """Whether what people decided in campaigns belongs in."""
        return self.dataset_id is None or self.campaign_id is not None


class Claim(NamedTuple):
    """One source's word: greeting `first` beats `second`, or has label `label`."""

    prompt: int
    first: int
    second: int = 0
    label: int = 1
    note: str = ""
    judged: bool = False
    """Whether only a judge says so."""


def pairs(session: Session, scope: Scope, dropped: Dropped) -> Iterator[Record]:
    """Records with prompt, chosen, rejected, flaw, tags and split."""
    sources = []
    if scope.stored:
        sources.append(_stored_pairs(session, scope))
    if scope.voted:
        sources.append(iter(sorted(_voted_pairs(session, scope, dropped))))
    return _records(session, _merged(sources, dropped, _agreed_pairs), _pair_record)


def labels(session: Session, scope: Scope, dropped: Dropped) -> Iterator[Record]:
    """Records with prompt, response, label, reason, tags and split."""
    sources = []
    if scope.stored:
        sources.append(_stored_labels(session, scope))
    if scope.voted:
        sources.append(iter(sorted(_voted_labels(session, scope, dropped))))
    return _records(session, _merged(sources, dropped, _agreed_labels), _label_record)


def _stored_pairs(session: Session, scope: Scope) -> Iterator[Claim]:
    query = select(
        PreferencePair.prompt_id,
        PreferencePair.chosen_id,
        PreferencePair.rejected_id,
        PreferencePair.flaw,
        PreferencePair.origin,
    )
    if scope.dataset_id is not None:
        query = query.where(PreferencePair.dataset_id == scope.dataset_id)
    elif not scope.panel:
        query = query.where(PreferencePair.origin != LABELLED_BY_JUDGE)
    for row in session.execute(
        query.order_by(PreferencePair.prompt_id, PreferencePair.id).execution_options(yield_per=_BATCH)
    ):
        yield Claim(row[0], row[1], row[2], note=row[3] or "", judged=row[4] == LABELLED_BY_JUDGE)


def judged_pairs(session: Session, scope: Scope) -> int:
    """How many pairs stay out because only a judge labelled them."""
    if scope.panel or not scope.stored or scope.dataset_id is not None:
        return 0
    query = select(func.count(PreferencePair.id)).where(PreferencePair.origin == LABELLED_BY_JUDGE)
    return session.scalar(query) or 0


def _stored_labels(session: Session, scope: Scope) -> Iterator[Claim]:
    query = (
        select(Greeting.prompt_id, Verdict.greeting_id, Verdict.value, Verdict.reason)
        .join(Greeting, Greeting.id == Verdict.greeting_id)
        .join(Rater, Rater.id == Verdict.rater_id)
        .where(Rater.kind == RaterKind.DATASET, Verdict.value.is_not(None), current_verdict())
    )
    if scope.dataset is not None:
        query = query.where(Rater.name == scope.dataset)
    for row in session.execute(
        query.order_by(Greeting.prompt_id, Verdict.id).execution_options(yield_per=_BATCH)
    ):
        yield Claim(row[0], row[1], label=int(row[2] or 0), note=row[3])


def _voted_pairs(session: Session, scope: Scope, dropped: Dropped) -> Iterator[Claim]:
    query = (
        select(Item.id, Item.prompt_id, Comparison.left_id, Comparison.right_id, Comparison.outcome)
        .join(Item, Item.id == Comparison.item_id)
        .join(Rater, Rater.id == Comparison.rater_id)
        .where(Rater.kind == RaterKind.HUMAN, Comparison.outcome != Outcome.SKIP, current_comparison())
    )
    if scope.campaign_id is not None:
        query = query.where(Item.campaign_id == scope.campaign_id)
    for _, votes in itertools.groupby(session.execute(query.order_by(Item.id)), key=lambda row: row[0]):
        claim = _winner([tuple(vote[1:]) for vote in votes])
        if isinstance(claim, Claim):
            yield claim
        else:
            dropped[claim] += 1


def _winner(votes: list[tuple[Any, ...]]) -> Claim | str:
    """The greeting that more than half of an item's raters preferred, else why there is none."""
    tally = Counter(
        (left, right) if outcome == Outcome.A else (right, left)
        for _, left, right, outcome in votes
        if outcome in (Outcome.A, Outcome.B)
    )
    if not tally:
        return "no_preference"
    (winner, loser), count = tally.most_common(1)[0]
    return Claim(votes[0][0], winner, loser) if 2 * count > len(votes) else "tie"


def _voted_labels(session: Session, scope: Scope, dropped: Dropped) -> Iterator[Claim]:
    query = (
        select(Verdict.item_id, Greeting.prompt_id, Verdict.greeting_id, Verdict.value, Verdict.scale)
        .join(Greeting, Greeting.id == Verdict.greeting_id)
        .join(Rater, Rater.id == Verdict.rater_id)
        .where(Rater.kind == RaterKind.HUMAN, Verdict.value.is_not(None), current_verdict())
    )
    if scope.campaign_id is not None:
        query = query.join(Item, Item.id == Verdict.item_id).where(Item.campaign_id == scope.campaign_id)
    rows = session.execute(query.order_by(Verdict.item_id, Verdict.greeting_id))
    for (_, prompt, greeting), votes in itertools.groupby(rows, key=lambda row: tuple(row[:3])):
        good = [
            value >= (RUBRIC_EXCELLENT if scale == Scale.RUBRIC else 0.5)
            for *_, value, scale in votes
            if value is not None
        ]
        if 2 * sum(good) == len(good):
            dropped["tie"] += 1
        else:
            yield Claim(prompt, greeting, label=int(2 * sum(good) > len(good)))


Agree = Callable[[list[Claim], Dropped], Iterable[Claim]]


def _merged(sources: list[Iterator[Claim]], dropped: Dropped, agree: Agree) -> Iterator[Claim]:
    by_prompt = attrgetter("prompt")
    for _, claims in itertools.groupby(heapq.merge(*sources, key=by_prompt), key=by_prompt):
        yield from agree(list(claims), dropped)


def _agreed_pairs(claims: list[Claim], dropped: Dropped) -> Iterable[Claim]:
    found: dict[tuple[int, int], Claim] = {}
    for claim in claims:
        known = found.get((claim.first, claim.second))
        if known is None or (claim.judged, not claim.note) < (known.judged, not known.note):
            found[claim.first, claim.second] = claim
    for (first, second), claim in found.items():
        against = found.get((second, first))
        if against is None or (against.judged and not claim.judged):
            yield claim  # a judge's word does not stand against a person's
        if against is not None and first < second:
            dropped["contradiction"] += 1


def _agreed_labels(claims: list[Claim], dropped: Dropped) -> Iterable[Claim]:
    found: dict[int, list[Claim]] = {}
    for claim in claims:
        found.setdefault(claim.first, []).append(claim)
    for same in found.values():
        if len({claim.label for claim in same}) > 1:
            dropped["contradiction"] += 1
        else:
            yield next((claim for claim in same if claim.note), same[0])


def _records(
    session: Session, claims: Iterator[Claim], make: Callable[[Claim, dict[int, str]], Record]
) -> Iterator[Record]:
    while batch := list(itertools.islice(claims, _BATCH)):
        prompts = {
            row.id: row
            for row in session.execute(
                select(
                    Prompt.id, Prompt.text, Prompt.occasion, Prompt.recipient, Prompt.style, Prompt.split
                ).where(Prompt.id.in_({claim.prompt for claim in batch}))
            )
        }
        wanted = {id_ for claim in batch for id_ in (claim.first, claim.second)}
        texts = {
            row.id: row.text
            for row in session.execute(select(Greeting.id, Greeting.text).where(Greeting.id.in_(wanted)))
        }
        for claim in batch:
            prompt = prompts[claim.prompt]
            yield {
                "prompt": prompt.text,
                **make(claim, texts),
                "occasion": prompt.occasion,
                "recipient": prompt.recipient,
                "style": prompt.style,
                "split": prompt.split.value,
            }


def _pair_record(claim: Claim, texts: dict[int, str]) -> Record:
    return {
        "chosen": texts[claim.first],
        "rejected": texts[claim.second],
        "flaw": claim.note or None,
    }


def _label_record(claim: Claim, texts: dict[int, str]) -> Record:
    return {"response": texts[claim.first], "label": claim.label, "reason": claim.note or None}
