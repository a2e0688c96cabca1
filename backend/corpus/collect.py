"""Which pairs and labels there are to export, and how much of an evaluation training has already seen."""

import heapq
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.core.enums import LABELLED_BY_JUDGE, Outcome, RaterKind, is_excellent
from backend.core.text import digest, strip_white_space
from backend.db.base import BATCH_ROWS, in_batches
from backend.db.queries import current_rows
from backend.db.tables import Comparison, Greeting, Item, PreferencePair, Prompt, Rater, Verdict


@dataclass(frozen=True)
class LeakageShares:
    """Shares of distinct evaluation prompts and texts that occur in training; nan where there are none."""

    prompt_share: float
    text_share: float


def measure_leakage(
    evaluation_rows: Iterable[tuple[str, str]], training_rows: Iterable[tuple[str, str]]
) -> LeakageShares:
    """Compare (prompt, text) rows, blind to white space; a pair counts as two rows."""
    prompt_marks, text_marks = _collect_marks(evaluation_rows)
    training_prompts, training_texts = _collect_marks(training_rows)
    return LeakageShares(_share_of(prompt_marks, training_prompts), _share_of(text_marks, training_texts))


def _collect_marks(text_rows: Iterable[tuple[str, str]]) -> tuple[set[bytes], set[bytes]]:
    prompt_marks, text_marks = set(), set()
    for prompt_text, reply_text in text_rows:
        prompt_marks.add(_text_mark(prompt_text))
        text_marks.add(_text_mark(reply_text))
    return prompt_marks, text_marks


def _text_mark(any_text: str) -> bytes:
    # 16 bytes a text instead of the text itself: both sides of the comparison are whole data sets.
    return bytes.fromhex(digest(strip_white_space(any_text))[:32])


def _share_of(evaluated_marks: set[bytes], training_marks: set[bytes]) -> float:
    return len(evaluated_marks & training_marks) / len(evaluated_marks) if evaluated_marks else float("nan")


ExportRecord = dict[str, Any]
DropCounts = Counter[str]


@dataclass(frozen=True)
class ExportScope:
    """What to export: the given data set and campaign, or everything where neither is given.

    Everything means what people decided or brought: pairs that only a judge labelled belong in where `panel`
    asks for them. A data set that is named always comes whole.
    """

    dataset_id: int | None = None
    dataset_name: str | None = None
    campaign_id: int | None = None
    panel: bool = False

    @property
    def includes_stored(self) -> bool:
        """Whether what data sets hold belongs in."""
        return self.campaign_id is None or self.dataset_id is not None

    @property
    def includes_votes(self) -> bool:
        """Whether what people decided in campaigns belongs in."""
        return self.dataset_id is None or self.campaign_id is not None


class SourceClaim(NamedTuple):
    """What one source states: greeting `first_id` beats `second_id`, or `first_id` has label `label` (0 or 1)."""

    prompt: int
    first_id: int
    second_id: int = 0
    label: int = 1
    note: str = ""
    # Whether only a judge says so.
    only_judged: bool = False


def collect_pairs(session: Session, scope: ExportScope, dropped: DropCounts) -> Iterator[ExportRecord]:
    """Records with prompt, chosen, rejected, flaw, tags and split."""
    claim_sources = []
    if scope.includes_stored:
        claim_sources.append(_stored_pairs(session, scope))
    if scope.includes_votes:
        # Claims sort by prompt first, as merging needs; people's votes are few enough to sort in memory.
        claim_sources.append(iter(sorted(_voted_pairs(session, scope, dropped))))
    return _build_records(session, _merge_claims(claim_sources, dropped, _resolve_pairs), _pair_columns)


def collect_labels(session: Session, scope: ExportScope, dropped: DropCounts) -> Iterator[ExportRecord]:
    """Records with prompt, response, label, reason, tags and split."""
    claim_sources = []
    if scope.includes_stored:
        claim_sources.append(_stored_labels(session, scope))
    if scope.includes_votes:
        claim_sources.append(iter(sorted(_voted_labels(session, scope, dropped))))
    return _build_records(session, _merge_claims(claim_sources, dropped, _resolve_labels), _label_columns)


def _stored_pairs(session: Session, scope: ExportScope) -> Iterator[SourceClaim]:
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
        query.order_by(PreferencePair.prompt_id, PreferencePair.id).execution_options(yield_per=BATCH_ROWS)
    ):
        yield SourceClaim(row[0], row[1], row[2], note=row[3] or "", only_judged=row[4] == LABELLED_BY_JUDGE)


def count_judged_pairs(session: Session, scope: ExportScope) -> int:
    """How many pairs stay out because only a judge labelled them."""
    if scope.panel or not scope.includes_stored or scope.dataset_id is not None:
        return 0
    query = select(func.count(PreferencePair.id)).where(PreferencePair.origin == LABELLED_BY_JUDGE)
    return session.scalar(query) or 0


def _stored_labels(session: Session, scope: ExportScope) -> Iterator[SourceClaim]:
    query = (
        select(Greeting.prompt_id, Verdict.greeting_id, Verdict.value, Verdict.reason)
        .join(Greeting, Greeting.id == Verdict.greeting_id)
        .join(Rater, Rater.id == Verdict.rater_id)
        .where(Rater.kind == RaterKind.DATASET, Verdict.value.is_not(None), current_rows(Verdict))
    )
    if scope.dataset_name is not None:
        query = query.where(Rater.name == scope.dataset_name)
    for row in session.execute(query.order_by(Greeting.prompt_id, Verdict.id).execution_options(yield_per=BATCH_ROWS)):
        yield SourceClaim(row[0], row[1], label=int(row[2] or 0), note=row[3])


def _voted_pairs(session: Session, scope: ExportScope, dropped: DropCounts) -> Iterator[SourceClaim]:
    query = (
        select(Item.id, Item.prompt_id, Comparison.left_id, Comparison.right_id, Comparison.outcome)
        .join(Item, Item.id == Comparison.item_id)
        .join(Rater, Rater.id == Comparison.rater_id)
        .where(Rater.kind == RaterKind.HUMAN, Comparison.outcome != Outcome.SKIP, current_rows(Comparison))
    )
    if scope.campaign_id is not None:
        query = query.where(Item.campaign_id == scope.campaign_id)
    for _, votes in itertools.groupby(session.execute(query.order_by(Item.id)), key=lambda row: row[0]):
        claim = _majority_winner([tuple(vote[1:]) for vote in votes])
        if isinstance(claim, SourceClaim):
            yield claim
        else:
            dropped[claim] += 1


def _majority_winner(votes: list[tuple[Any, ...]]) -> SourceClaim | str:
    """The greeting that more than half of an item's raters preferred, else why there is none."""
    tally = Counter(
        (left_id, right_id) if outcome == Outcome.A else (right_id, left_id)
        for _, left_id, right_id, outcome in votes
        if outcome in (Outcome.A, Outcome.B)
    )
    if not tally:
        return "no_preference"
    (winner_id, loser_id), vote_count = tally.most_common(1)[0]
    # Of all who answered: one vote beside two “both good” is no majority.
    return SourceClaim(votes[0][0], winner_id, loser_id) if 2 * vote_count > len(votes) else "tie"


def _voted_labels(session: Session, scope: ExportScope, dropped: DropCounts) -> Iterator[SourceClaim]:
    query = (
        select(Verdict.item_id, Greeting.prompt_id, Verdict.greeting_id, Verdict.value, Verdict.scale)
        .join(Greeting, Greeting.id == Verdict.greeting_id)
        .join(Rater, Rater.id == Verdict.rater_id)
        .where(Rater.kind == RaterKind.HUMAN, Verdict.value.is_not(None), current_rows(Verdict))
    )
    if scope.campaign_id is not None:
        query = query.join(Item, Item.id == Verdict.item_id).where(Item.campaign_id == scope.campaign_id)
    vote_rows = session.execute(query.order_by(Verdict.item_id, Verdict.greeting_id))
    for (_, prompt_id, greeting_id), votes in itertools.groupby(vote_rows, key=lambda row: tuple(row[:3])):
        positive_votes = [
            is_excellent(verdict_value, verdict_scale)
            for *_, verdict_value, verdict_scale in votes
            if verdict_value is not None
        ]
        if 2 * sum(positive_votes) == len(positive_votes):
            dropped["tie"] += 1
        else:
            yield SourceClaim(prompt_id, greeting_id, label=int(2 * sum(positive_votes) > len(positive_votes)))


ClaimResolver = Callable[[list[SourceClaim], DropCounts], Iterable[SourceClaim]]


def _merge_claims(
    claim_sources: list[Iterator[SourceClaim]], dropped: DropCounts, resolve_claims: ClaimResolver
) -> Iterator[SourceClaim]:
    prompt_key = attrgetter("prompt")
    # All sources come ordered by prompt, so only one prompt's claims are in memory at a time.
    for _, claims in itertools.groupby(heapq.merge(*claim_sources, key=prompt_key), key=prompt_key):
        yield from resolve_claims(list(claims), dropped)


def _resolve_pairs(claims: list[SourceClaim], dropped: DropCounts) -> Iterable[SourceClaim]:
    claims_by_pair: dict[tuple[int, int], SourceClaim] = {}
    for claim in claims:
        earlier_claim = claims_by_pair.get((claim.first_id, claim.second_id))
        # Of equal claims a person's stays, and among these the one that has a note.
        if earlier_claim is None or (claim.only_judged, not claim.note) < (
            earlier_claim.only_judged,
            not earlier_claim.note,
        ):
            claims_by_pair[claim.first_id, claim.second_id] = claim
    for (first_id, second_id), claim in claims_by_pair.items():
        opposite_claim = claims_by_pair.get((second_id, first_id))
        if opposite_claim is None or (opposite_claim.only_judged and not claim.only_judged):
            yield claim  # a judge's word does not stand against a person's
        # Both directions pass here; one of them is counted.
        if opposite_claim is not None and first_id < second_id:
            dropped["contradiction"] += 1


def _resolve_labels(claims: list[SourceClaim], dropped: DropCounts) -> Iterable[SourceClaim]:
    claims_by_greeting: dict[int, list[SourceClaim]] = {}
    for claim in claims:
        claims_by_greeting.setdefault(claim.first_id, []).append(claim)
    for matching_claims in claims_by_greeting.values():
        if len({claim.label for claim in matching_claims}) > 1:
            dropped["contradiction"] += 1
        else:
            yield next((claim for claim in matching_claims if claim.note), matching_claims[0])


def _build_records(
    session: Session,
    claims: Iterator[SourceClaim],
    build_record: Callable[[SourceClaim, dict[int, str]], ExportRecord],
) -> Iterator[ExportRecord]:
    for batch in in_batches(claims):
        prompts_by_id = {
            row.id: row
            for row in session.execute(
                select(Prompt.id, Prompt.text, Prompt.occasion, Prompt.recipient, Prompt.style, Prompt.split).where(
                    Prompt.id.in_({claim.prompt for claim in batch})
                )
            )
        }
        greeting_ids = {greeting_id for claim in batch for greeting_id in (claim.first_id, claim.second_id)}
        greeting_texts = {
            row.id: row.text
            for row in session.execute(select(Greeting.id, Greeting.text).where(Greeting.id.in_(greeting_ids)))
        }
        for claim in batch:
            prompt_row = prompts_by_id[claim.prompt]
            yield {
                "prompt": prompt_row.text,
                **build_record(claim, greeting_texts),
                "occasion": prompt_row.occasion,
                "recipient": prompt_row.recipient,
                "style": prompt_row.style,
                "split": prompt_row.split.value,
            }


def _pair_columns(claim: SourceClaim, greeting_texts: dict[int, str]) -> ExportRecord:
    return {
        "chosen": greeting_texts[claim.first_id],
        "rejected": greeting_texts[claim.second_id],
        "flaw": claim.note or None,
    }


def _label_columns(claim: SourceClaim, greeting_texts: dict[int, str]) -> ExportRecord:
    return {"response": greeting_texts[claim.first_id], "label": claim.label, "reason": claim.note or None}
