"""What one reviewer decides about a pair."""

from dataclasses import dataclass

from sqlalchemy import select

from backend.db.engine import Database
from backend.db.pair_tables import RunPair
from backend.errors import Conflict, NotFound, UserError
from backend.pairs.moves import StateChange, apply_changes
from backend.pairs.vocabulary import Decider, PairState
from backend.text import has_control_characters, normalize_text

STATE_BY_ACTION = {
    "accept": PairState.ACCEPTED,
    "flip": PairState.FLIPPED,
    "discard": PairState.DISCARDED,
}
_LONGEST_NAME, _LONGEST_NOTE = 40, 500


@dataclass(frozen=True)
class DecisionRequest:
    """One decision: what is done to which pair, by whom and why.

    `seen` is the state in which the reviewer saw the pair: a decision on what somebody else has changed since
    is refused.
    """

    pair_id: int
    action: str
    reviewer_name: str = ""
    review_note: str = ""
    seen_state: PairState | None = None


def apply_decision(database: Database, decision: DecisionRequest) -> PairState:
    """Write the decision down, let the data set follow; the state it led to. Raises UserError, Conflict."""
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
