"""What one reviewer decides about a pair."""

from dataclasses import dataclass

from sqlalchemy import select

from backend.db.engine import Database
from backend.db.pair_tables import RunPair
from backend.errors import Conflict, NotFound, UserError
from backend.pairs.moves import Move, move
from backend.pairs.vocabulary import Decider, PairState
from backend.text import clean, has_control

ACTIONS = {
    "accept": PairState.ACCEPTED,
    "flip": PairState.FLIPPED,
    "discard": PairState.DISCARDED,
}
_NAME, _NOTE = 40, 500


@dataclass(frozen=True)
class Wish:
    """One decision: what is done to which pair, by whom and why.

    `seen` is the state in which the reviewer saw the pair: a decision on what somebody else has changed since
    is refused.
    """

    pair: int
    action: str
    name: str = ""
    note: str = ""
    seen: PairState | None = None


def decide(database: Database, wish: Wish) -> PairState:
    """Write the decision down, let the data set follow; the state it led to. Raises UserError, Conflict."""
    if wish.action not in ACTIONS:
        raise UserError(
            f"A pair can be {', '.join(ACTIONS)}ed, not “{wish.action}”.",
            f"只能采纳、翻转或丢弃（{'、'.join(ACTIONS)}），没有“{wish.action}”这种操作。",
        )
    state, name, note = ACTIONS[wish.action], clean(wish.name), clean(wish.note)
    if len(name) > _NAME or len(note) > _NOTE or has_control(name + note):
        raise UserError(
            f"A name has at most {_NAME} printable characters, a note {_NOTE}.",
            f"名字最多 {_NAME} 个字，备注最多 {_NOTE} 个字，且不能有控制字符。",
        )
    with database.write() as session:
        pair = session.scalar(select(RunPair).where(RunPair.id == wish.pair).with_for_update())
        if pair is None:
            raise NotFound(f"There is no pair {wish.pair}.", f"没有编号为 {wish.pair} 的偏好对。")
        if wish.seen is not None and wish.seen is not pair.state:
            raise Conflict(
                f"Pair {wish.pair} is {pair.state.value} by now; look at it again before you decide.",
                f"偏好对 {wish.pair} 的状态已经变了，请重新查看后再决定。",
            )
        move(session, [Move(pair.id, state, Decider.PERSON, name, note)])
    return state
