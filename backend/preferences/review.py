"""A share of the pairs goes to people before use, blind; what they or one reviewer decide."""

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from backend.annotation.campaigns import ItemDraw, shuffled_items
from backend.core.enums import CampaignKind, Decider, PairState, RaterKind
from backend.core.errors import Conflict, NotFound, UserError
from backend.core.text import assign_bucket, has_control_characters, normalize_text
from backend.db.base import in_batches
from backend.db.engine import Database
from backend.db.pair_tables import Candidate, PairRun, RunPair, RunPrompt
from backend.db.queries import current_rows
from backend.db.tables import Campaign, Item, Rater, Verdict
from backend.preferences.emit import STATE_BATCH as BATCH
from backend.preferences.emit import StateChange, apply_changes
from backend.preferences.records import PairRequest

STATE_BY_ACTION = {
    "accept": PairState.ACCEPTED,
    "flip": PairState.FLIPPED,
    "discard": PairState.DISCARDED,
}
_LONGEST_NAME, _LONGEST_NOTE = 40, 500


@dataclass(frozen=True)
class DecisionRequest:
    """One decision: what is done to which pair, by whom and why.

    `seen_state` is the state in which the reviewer saw the pair: a decision on what somebody else has changed since
    is refused.
    """

    pair_id: int
    action: str
    reviewer_name: str = ""
    review_note: str = ""
    seen_state: PairState | None = None


def apply_decision(database: Database, decision: DecisionRequest) -> PairState:
    """Write the decision down and let the data set follow; returns the new state.

    Raises UserError for an action, a name or a note that cannot be, NotFound for the pair, Conflict where somebody
    else changed it since it was seen.
    """
    if decision.action not in STATE_BY_ACTION:
        raise UserError(
            f"A pair can be {', '.join(STATE_BY_ACTION)}ed, not “{decision.action}”.",
            f"只能采纳、翻转或丢弃（{'、'.join(STATE_BY_ACTION)}），没有“{decision.action}”这种操作。",
        )
    new_state, reviewer_name, review_note = (
        STATE_BY_ACTION[decision.action],
        normalize_text(decision.reviewer_name),
        normalize_text(decision.review_note),
    )
    if (
        len(reviewer_name) > _LONGEST_NAME
        or len(review_note) > _LONGEST_NOTE
        or has_control_characters(reviewer_name + review_note)
    ):
        raise UserError(
            f"A name has at most {_LONGEST_NAME} printable characters, a note {_LONGEST_NOTE}.",
            f"名字最多 {_LONGEST_NAME} 个字，备注最多 {_LONGEST_NOTE} 个字，且不能有控制字符。",
        )
    with database.write() as session:
        # Locked before the state is compared: two reviewers on PostgreSQL would both pass the check below.
        run_pair = session.scalar(select(RunPair).where(RunPair.id == decision.pair_id).with_for_update())
        if run_pair is None:
            raise NotFound(f"There is no pair {decision.pair_id}.", f"没有编号为 {decision.pair_id} 的偏好对。")
        if decision.seen_state is not None and decision.seen_state is not run_pair.state:
            raise Conflict(
                f"Pair {decision.pair_id} is {run_pair.state.value} by now; look at it again before you decide.",
                f"偏好对 {decision.pair_id} 的状态已经变了，请重新查看后再决定。",
            )
        apply_changes(session, [StateChange(run_pair.id, new_state, Decider.PERSON, reviewer_name, review_note)])
    return new_state


CAMPAIGN_SUFFIX = " · 抽查"
# One's own answer comes before the judge's verdict is shown: an answer given after it would follow it.
INSTRUCTIONS = (
    "先说你自己的看法：这条祝福，对这个请求来说优秀吗？然后会看到裁判的评判，再说你同不同意。"
    "这些祝福来自偏好对的抽查，你的回答决定它们能不能用。"
)
# A share is met to a millionth: far finer than anybody asks for.
_BUCKETS = 1_000_000


def hand_out(database: Database, run_id: int, request: PairRequest) -> str | None:
    """Give the requested share of the run's pairs to people, once; the campaign's name, None where no pair is drawn."""
    # One transaction: killed in between, the run would have a campaign whose pairs are used all the same.
    with database.write() as session:
        pair_run = session.get_one(PairRun, run_id)
        existing_id = session.scalar(
            select(RunPair.campaign_id).where(RunPair.run_id == run_id, RunPair.campaign_id.is_not(None)).limit(1)
        )
        # Handed out once: a resumed run must not draw a second campaign from what the first has left.
        if existing_id is not None:
            return session.get_one(Campaign, existing_id).name
        drawn_pairs = [
            run_pair
            for run_pair in _pairs_in_state(session, run_id)
            if _is_drawn(pair_run.name, run_pair, request.checking.share)
        ]
        if not drawn_pairs:
            return None
        new_campaign = Campaign(
            name=_free_campaign_name(session, f"{pair_run.name}{CAMPAIGN_SUFFIX}"),
            kind=CampaignKind.VALIDATE,
            k=request.checking.raters,
            instructions=INSTRUCTIONS,
            seed=request.seed,
            judge_id=pair_run.judge_id,
        )
        session.add(new_campaign)
        session.flush()
        session.execute(
            insert(Item), shuffled_items(new_campaign.id, request.seed, _campaign_draws(session, drawn_pairs))
        )
        for run_pair in drawn_pairs:
            run_pair.campaign_id = new_campaign.id
        apply_changes(
            session, [StateChange(run_pair.id, PairState.CHECKING, Decider.PANEL) for run_pair in drawn_pairs]
        )
        return new_campaign.name


def _free_campaign_name(session: Session, wanted_name: str) -> str:
    """The name, or with a number behind it where a campaign is called so already."""
    taken_names = set(
        session.scalars(select(Campaign.name).where(Campaign.name.startswith(wanted_name, autoescape=True)))
    )
    return next(
        candidate_name
        for name_suffix in itertools.count(1)
        if (candidate_name := wanted_name if name_suffix == 1 else f"{wanted_name} {name_suffix}") not in taken_names
    )


def settle_pairs(database: Database, run_id: int) -> int:
    """Let complete answers decide: ACCEPTED where people confirm both sides, else REVIEW; how many pairs that moved."""
    with database.write() as session:
        # Only pairs that wait: a second call after a kill finds
        # nothing to decide, and no decision is noted twice.
        waiting_pairs = _pairs_in_state(session, run_id, PairState.CHECKING)
        campaign_ids = {run_pair.campaign_id for run_pair in waiting_pairs if run_pair.campaign_id is not None}
        votes_by_campaign = {campaign_id: votes_by_greeting(session, campaign_id) for campaign_id in campaign_ids}
        greeting_ids = _greeting_ids(session, waiting_pairs)
        changes: list[StateChange] = []
        for run_pair in waiting_pairs:
            campaign_votes = votes_by_campaign.get(run_pair.campaign_id or 0, {})
            both_votes = [
                campaign_votes.get(greeting_ids[candidate_id])
                for candidate_id in (run_pair.chosen_id, run_pair.rejected_id)
            ]
            if (new_state := _state_by_votes(both_votes)) is not None:
                vote_note = " / ".join(
                    f"{sum(side_votes.answers):g}:{len(side_votes.answers)}" for side_votes in both_votes if side_votes
                )
                changes.append(StateChange(run_pair.id, new_state, Decider.PEOPLE, note=vote_note))
        apply_changes(session, changes)
        return len(changes)


@dataclass(frozen=True)
class HumanVotes:
    """What people answered about one greeting, 1 for excellent; `is_complete` where no further answer is awaited."""

    answers: tuple[float, ...]
    is_complete: bool

    @property
    def majority(self) -> float:
        """1, 0, or one half for a tie."""
        mean_answer = sum(self.answers) / len(self.answers)
        return 1.0 if mean_answer > 0.5 else 0.0 if mean_answer < 0.5 else 0.5


def votes_by_greeting(session: Session, campaign_id: int) -> dict[int, HumanVotes]:
    """Current answers of people in a campaign, by greeting."""
    campaign = session.get_one(Campaign, campaign_id)
    verdict_rows = session.execute(
        select(Verdict.greeting_id, Verdict.value)
        .join(Item, Item.id == Verdict.item_id)
        .join(Rater, Rater.id == Verdict.rater_id)
        .where(
            Item.campaign_id == campaign_id,
            # A judge may have been put to the campaign's items
            # as well; its verdicts must not count as people's.
            Rater.kind == RaterKind.HUMAN,
            Verdict.value.is_not(None),
            current_rows(Verdict),
        )
        .order_by(Verdict.id)
    )
    answers_by_greeting: dict[int, list[float]] = defaultdict(list)
    for greeting_id, verdict_value in verdict_rows:
        answers_by_greeting[greeting_id].append(float(verdict_value or 0))
    return {
        # A campaign that was closed gets no more answers: waiting for them would hold its pairs for ever.
        greeting_id: HumanVotes(tuple(answers), campaign.closed or len(answers) >= campaign.k)
        for greeting_id, answers in answers_by_greeting.items()
    }


def _state_by_votes(both_votes: Sequence[HumanVotes | None]) -> PairState | None:
    complete_votes = [side_votes for side_votes in both_votes if side_votes is not None and side_votes.is_complete]
    if len(complete_votes) < len(both_votes):
        return None
    # A tie on either side is no confirmation; a person looks at such a pair.
    return (
        PairState.ACCEPTED if [side_votes.majority for side_votes in complete_votes] == [1.0, 0.0] else PairState.REVIEW
    )


def _pairs_in_state(session: Session, run_id: int, pair_state: PairState = PairState.PROPOSED) -> list[RunPair]:
    pair_query = select(RunPair).where(RunPair.run_id == run_id, RunPair.state == pair_state)
    return list(session.scalars(pair_query.order_by(RunPair.id)))


# By a hash and not by lot: run again, the same pairs are drawn, and more of them where the share has grown.
def _is_drawn(run_name: str, run_pair: RunPair, drawn_share: float) -> bool:
    return (
        assign_bucket(f"{run_pair.chosen_id}:{run_pair.rejected_id}", _BUCKETS, hash_salt=run_name)
        < drawn_share * _BUCKETS
    )


def _greeting_ids(session: Session, run_pairs: Sequence[RunPair]) -> dict[int, int]:
    """The greeting of every candidate in the pairs."""
    greeting_by_candidate: dict[int, int] = {}
    for pair_batch in in_batches(run_pairs, BATCH):
        candidate_ids = {
            candidate_id for run_pair in pair_batch for candidate_id in (run_pair.chosen_id, run_pair.rejected_id)
        }
        candidate_rows = session.execute(
            select(Candidate.id, Candidate.greeting_id).where(
                Candidate.id.in_(candidate_ids), Candidate.greeting_id.is_not(None)
            )
        )
        greeting_by_candidate |= {
            candidate_id: greeting_id for candidate_id, greeting_id in candidate_rows if greeting_id is not None
        }
    return greeting_by_candidate


def _campaign_draws(session: Session, run_pairs: Sequence[RunPair]) -> list[ItemDraw]:
    greeting_ids = _greeting_ids(session, run_pairs)
    prompt_by_line = {
        record_id: prompt_id
        for pair_batch in in_batches(run_pairs, BATCH)
        for record_id, prompt_id in session.execute(
            select(RunPrompt.id, RunPrompt.prompt_id).where(
                RunPrompt.id.in_({run_pair.run_prompt_id for run_pair in pair_batch})
            )
        )
    }
    # One item a greeting, also where it stands in two of the pairs.
    prompt_by_greeting = {
        greeting_ids[candidate_id]: prompt_by_line[run_pair.run_prompt_id]
        for run_pair in run_pairs
        for candidate_id in (run_pair.chosen_id, run_pair.rejected_id)
    }
    return [
        ItemDraw(0, prompt_id, record_id, None)
        # Sorted before they are shuffled: the order of rows differs
        # between databases, and the seed must decide alone.
        for record_id, prompt_id in sorted(prompt_by_greeting.items())
        if prompt_id is not None
    ]
