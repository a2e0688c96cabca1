"""A share of the pairs goes to people before use, blind on both sides: they see neither the judge's verdict
nor which greeting it accepted.

Each greeting of the chosen pairs becomes an item of a validate campaign. Where the majority says 1 of the
accepted and 0 of the refused one, people have accepted the pair; every other answer is a disagreement, and
the pair goes to review.
"""

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import insert, select
from sqlalchemy.orm import Session, aliased

from backend.annotation.campaigns import shuffled
from backend.annotation.sampling import Draw
from backend.db.engine import Database
from backend.db.pair_tables import Candidate, PairRun, RunPair, RunPrompt
from backend.db.tables import Campaign, Item, Rater, Verdict
from backend.pairs.moves import BATCH, Move, move
from backend.pairs.records import PairRequest
from backend.pairs.vocabulary import Decider, PairState
from backend.text import bucket
from backend.vocabulary import CampaignKind, RaterKind

SUFFIX = " · 抽查"
INSTRUCTIONS = (
    "先说你自己的看法：这条祝福，对这个请求来说优秀吗？然后会看到裁判的评判，再说你同不同意。"
    "这些祝福来自偏好对的抽查，你的回答决定它们能不能用。"
)
_PARTS = 1_000_000


def hand_out(database: Database, run_id: int, request: PairRequest) -> str | None:
    """Give the wished share of the run's pairs to people, once; the campaign's name, None without one."""
    with database.write() as session:
        run = session.get_one(PairRun, run_id)
        given = session.scalar(
            select(RunPair.campaign_id)
            .where(RunPair.run_id == run_id, RunPair.campaign_id.is_not(None))
            .limit(1)
        )
        if given is not None:
            return session.get_one(Campaign, given).name
        pairs = [
            pair for pair in _open_pairs(session, run_id) if _drawn(run.name, pair, request.checking.share)
        ]
        if not pairs:
            return None
        campaign = Campaign(
            name=_free_name(session, f"{run.name}{SUFFIX}"),
            kind=CampaignKind.VALIDATE,
            k=request.checking.raters,
            instructions=INSTRUCTIONS,
            seed=request.seed,
            judge_id=run.judge_id,
        )
        session.add(campaign)
        session.flush()
        session.execute(insert(Item), shuffled(campaign.id, request.seed, _draws(session, pairs)))
        for pair in pairs:
            pair.campaign_id = campaign.id
        move(session, [Move(pair.id, PairState.CHECKING, Decider.PANEL) for pair in pairs])
        return campaign.name


def _free_name(session: Session, wish: str) -> str:
    """The name, or with a number behind it where a campaign is called so already."""
    taken = set(session.scalars(select(Campaign.name).where(Campaign.name.startswith(wish, autoescape=True))))
    return next(name for n in itertools.count(1) if (name := wish if n == 1 else f"{wish} {n}") not in taken)


def settle(database: Database, run_id: int) -> int:
    """Let the answers that are complete decide; how many pairs that moved."""
    with database.write() as session:
        waiting = _open_pairs(session, run_id, PairState.CHECKING)
        campaigns = {pair.campaign_id for pair in waiting if pair.campaign_id is not None}
        said = {id_: votes(session, id_) for id_ in campaigns}
        greeting = _greetings(session, waiting)
        moves: list[Move] = []
        for pair in waiting:
            known = said.get(pair.campaign_id or 0, {})
            sides = [known.get(greeting[side]) for side in (pair.chosen_id, pair.rejected_id)]
            if (state := _verdict(sides)) is not None:
                note = " / ".join(f"{sum(one.given):g}:{len(one.given)}" for one in sides if one)
                moves.append(Move(pair.id, state, Decider.PEOPLE, note=note))
        move(session, moves)
        return len(moves)


@dataclass(frozen=True)
class Votes:
    """What people said of one greeting; `complete` where no further answer is awaited."""

    given: tuple[float, ...]
    complete: bool

    @property
    def majority(self) -> float:
        """1, 0, or one half for a tie."""
        mean = sum(self.given) / len(self.given)
        return 1.0 if mean > 0.5 else 0.0 if mean < 0.5 else 0.5


def votes(session: Session, campaign_id: int) -> dict[int, Votes]:
    """Current answers of people in a campaign, by greeting."""
    campaign = session.get_one(Campaign, campaign_id)
    newer = aliased(Verdict)
    rows = session.execute(
        select(Verdict.greeting_id, Verdict.value)
        .join(Item, Item.id == Verdict.item_id)
        .join(Rater, Rater.id == Verdict.rater_id)
        .outerjoin(newer, newer.supersedes_id == Verdict.id)
        .where(
            Item.campaign_id == campaign_id,
            Rater.kind == RaterKind.HUMAN,
            newer.id.is_(None),
            Verdict.withdrawn.is_(False),
            Verdict.value.is_not(None),
        )
        .order_by(Verdict.id)
    )
    given: dict[int, list[float]] = defaultdict(list)
    for greeting, value in rows:
        given[greeting].append(float(value or 0))
    return {
        greeting: Votes(tuple(values), campaign.closed or len(values) >= campaign.k)
        for greeting, values in given.items()
    }


def _verdict(sides: Sequence[Votes | None]) -> PairState | None:
    known = [side for side in sides if side is not None and side.complete]
    if len(known) < len(sides):
        return None
    return PairState.ACCEPTED if [side.majority for side in known] == [1.0, 0.0] else PairState.REVIEW


def _open_pairs(session: Session, run_id: int, state: PairState = PairState.PROPOSED) -> list[RunPair]:
    query = select(RunPair).where(RunPair.run_id == run_id, RunPair.state == state)
    return list(session.scalars(query.order_by(RunPair.id)))


def _drawn(run: str, pair: RunPair, share: float) -> bool:
    return bucket(f"{pair.chosen_id}:{pair.rejected_id}", _PARTS, salt=run) < share * _PARTS


def _greetings(session: Session, pairs: Sequence[RunPair]) -> dict[int, int]:
    """The greeting of every candidate in the pairs."""
    found: dict[int, int] = {}
    for start in range(0, len(pairs), BATCH):
        ids = {id_ for pair in pairs[start : start + BATCH] for id_ in (pair.chosen_id, pair.rejected_id)}
        rows = session.execute(
            select(Candidate.id, Candidate.greeting_id).where(
                Candidate.id.in_(ids), Candidate.greeting_id.is_not(None)
            )
        )
        found |= {id_: greeting for id_, greeting in rows if greeting is not None}
    return found


def _draws(session: Session, pairs: Sequence[RunPair]) -> list[Draw]:
    greeting = _greetings(session, pairs)
    prompts = {
        id_: prompt
        for start in range(0, len(pairs), BATCH)
        for id_, prompt in session.execute(
            select(RunPrompt.id, RunPrompt.prompt_id).where(
                RunPrompt.id.in_({pair.run_prompt_id for pair in pairs[start : start + BATCH]})
            )
        )
    }
    # One item a greeting, also where it stands in two of the pairs.
    shown = {
        greeting[side]: prompts[pair.run_prompt_id]
        for pair in pairs
        for side in (pair.chosen_id, pair.rejected_id)
    }
    return [Draw(0, prompt, id_, None) for id_, prompt in sorted(shown.items()) if prompt is not None]
