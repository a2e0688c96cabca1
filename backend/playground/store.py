"""Rounds, cards and signals in the database: short transactions, and nothing is ever overwritten later."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from backend.core.enums import FINAL_STATES, CardChange, CardState
from backend.core.errors import Message, NotFound
from backend.db.base import insert_ignore, utc_now
from backend.db.engine import VOTE_WAIT_S, Database
from backend.db.play_tables import PlayCard, PlayRound, PlaySignal
from backend.generation.writer import SamplingSettings
from backend.playground.cards import CardOutcome
from backend.playground.records import CardView, ModelTally, RoundView

_UNFINISHED_STATES = [card_state for card_state in CardState if card_state not in FINAL_STATES]
# Nobody waits for the end of a card to be stored, and its text would be gone: so it waits for the database.
_FINISH_WAIT_S = 60.0
_INTERRUPTED_NOTE = Message(
    "The application was restarted before this one was finished.", "应用重启过，这一条没有写完。"
)


class PlayStore:
    """Reads and writes what visitors asked, were shown and liked; each method is one short transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(
        self,
        token: str,
        visitor: str,
        prompt_text: str,
        entered_request: Mapping[str, Any],
        base_seed: int,
        new_cards: Iterable[Mapping[str, Any]],
    ) -> RoundView:
        """Store a round with its cards, all waiting; `new_cards` are column values of PlayCard. Raises Busy."""
        with self._database.write(VOTE_WAIT_S) as session:
            round_row = PlayRound(
                token=token, visitor=visitor, prompt=prompt_text, wish=dict(entered_request), seed=base_seed
            )
            session.add(round_row)
            session.flush()
            session.add_all(
                PlayCard(round_id=round_row.id, state=CardState.WAITING, **card_values) for card_values in new_cards
            )
            session.flush()
            return _round_view(session, round_row, stale=False)

    def add(self, token: str, card_values: Mapping[str, Any]) -> CardView:
        """One more version of a card of the round, waiting."""
        with self._database.write(VOTE_WAIT_S) as session:
            round_row = _find_round(session, token)
            same_generator = (
                PlayCard.round_id == round_row.id,
                PlayCard.generator == card_values["generator"],
            )
            # Read and written in one transaction; the unique constraint
            # on (round, generator, place, version) is the last word.
            newest_version = session.scalar(
                select(func.max(PlayCard.version)).where(*same_generator, PlayCard.place == card_values["place"])
            )
            new_card = PlayCard(
                round_id=round_row.id,
                state=CardState.WAITING,
                version=(newest_version or 0) + 1,
                **dict(card_values),
            )
            session.add(new_card)
            session.flush()
            return _card_view(new_card, 0, stale=False)

    def save_growing_texts(self, text_by_card: Mapping[int, str]) -> None:
        """Keep what is shown of unfinished cards, so that a restart loses at most a second."""
        with self._database.write() as session:
            for card_id, text_so_far in text_by_card.items():
                # Only while unfinished: a save that was waiting for
                # the database must not overwrite the final text.
                is_unfinished = (PlayCard.id == card_id, PlayCard.state.in_(_UNFINISHED_STATES))
                session.execute(update(PlayCard).where(*is_unfinished).values(text=text_so_far))

    def finish(self, card_id: int, final_state: CardState, card_outcome: CardOutcome) -> None:
        """Store how a card ended; one that has ended already stays as it is."""
        end_note = card_outcome.note or Message("", "")
        with self._database.write(_FINISH_WAIT_S) as session:
            session.execute(
                update(PlayCard)
                # Stopping and ending may race; whichever is stored first stands.
                .where(PlayCard.id == card_id, PlayCard.state.in_(_UNFINISHED_STATES))
                .values(
                    state=final_state,
                    text=card_outcome.text,
                    fault=card_outcome.fault,
                    note_en=end_note.en,
                    note_zh=end_note.zh,
                    tries=card_outcome.tries,
                    seconds=card_outcome.seconds,
                    seed=card_outcome.seed,
                    call_id=card_outcome.call_id,
                )
            )

    def round(self, token: str, visitor: str) -> RoundView:
        """A round of this visitor. Raises NotFound, also for one of another's."""
        with self._database.read() as session:
            round_row = _find_round(session, token)
            # Not “forbidden”: that would say that the round exists.
            if round_row.visitor != visitor:
                raise missing_round_error()
            return _round_view(session, round_row, stale=True)

    def recent(self, visitor: str, max_rounds: int) -> list[RoundView]:
        """The visitor's newest rounds."""
        round_query = select(PlayRound).where(PlayRound.visitor == visitor).order_by(PlayRound.id.desc())
        with self._database.read() as session:
            round_rows = session.scalars(round_query.limit(max_rounds)).all()
            return [_round_view(session, round_row, stale=True) for round_row in round_rows]

    def round_token(self, card_id: int, visitor: str) -> str:
        """The round that holds a card of this visitor. Raises NotFound."""
        token_query = select(PlayRound.token).join(PlayCard, PlayCard.round_id == PlayRound.id)
        with self._database.read() as session:
            matching_token = session.scalar(token_query.where(PlayCard.id == card_id, PlayRound.visitor == visitor))
        if matching_token is None:
            raise NotFound("There is no such greeting.", "没有这条祝福。")
        return matching_token

    def signal(self, card_id: int, visitor: str, signal_value: int, request_id: str) -> None:
        """Like (1), dislike (-1) or neither (0); the same `request_id` twice is one. Raises Busy."""
        signal_row = {"card_id": card_id, "visitor": visitor, "value": signal_value, "request_id": request_id}
        with self._database.write(VOTE_WAIT_S) as session:
            # Appended: a signal taken back is a new row, and a request
            # sent again breaks the unique request id and is passed over.
            insert_ignore(session, PlaySignal, [{**signal_row, "created_at": utc_now()}])

    def tallies(self) -> list[ModelTally]:
        """What every model wrote here, the one that wrote last first."""
        with self._database.read() as session:
            tally_rows = session.execute(
                select(
                    PlayCard.generator,
                    PlayCard.model,
                    func.count(),
                    func.count(PlayCard.round_id.distinct()),
                )
                .where(PlayCard.state == CardState.DONE, PlayCard.text != "")
                .group_by(PlayCard.generator, PlayCard.model)
                # Ids grow with time: the highest one is the card that was begun last.
                .order_by(func.max(PlayCard.id).desc())
            ).all()
            likes_by_model = _likes_by_model(session)
        return [
            ModelTally(
                generator_name,
                model_name,
                card_count,
                round_count,
                *likes_by_model.get((generator_name, model_name), (0, 0)),
            )
            for generator_name, model_name, card_count, round_count in tally_rows
        ]


def _find_round(session: Session, token: str) -> PlayRound:
    round_row = session.scalar(select(PlayRound).where(PlayRound.token == token))
    if round_row is None:
        raise missing_round_error()
    return round_row


def missing_round_error() -> NotFound:
    """For a round that is not there, or not this visitor's."""
    return NotFound("There is no such request (any more).", "没有找到这次请求。")


def _round_view(session: Session, round_row: PlayRound, *, stale: bool) -> RoundView:
    card_rows = session.scalars(select(PlayCard).where(PlayCard.round_id == round_row.id).order_by(PlayCard.id)).all()
    signal_by_card = _newest_signals(session, [card_row.id for card_row in card_rows])
    stored_note = round_row.wish.get("note")
    return RoundView(
        token=round_row.token,
        prompt=round_row.prompt,
        entered_request=round_row.wish,
        seed=round_row.seed,
        created_at=round_row.created_at,
        cards=tuple(_card_view(card_row, signal_by_card.get(card_row.id, 0), stale=stale) for card_row in card_rows),
        running=False,
        revision=0,
        note=Message(stored_note["en"], stored_note["zh"]) if stored_note else None,
    )


def _card_view(card_row: PlayCard, signal_value: int, *, stale: bool) -> CardView:
    """The row as a record. `stale` says that no process writes this round: an open card counts as stopped."""
    is_interrupted = stale and card_row.state in _UNFINISHED_STATES
    stored_note = Message(card_row.note_en, card_row.note_zh) if card_row.note_en else None
    return CardView(
        id=card_row.id,
        generator=card_row.generator,
        model=card_row.model,
        place=card_row.place,
        version=card_row.version,
        change=CardChange(card_row.change) if card_row.change else None,
        state=CardState.STOPPED if is_interrupted else card_row.state,
        text=card_row.text,
        note=_INTERRUPTED_NOTE if is_interrupted else stored_note,
        fault=card_row.fault,
        seed=card_row.seed,
        sampling=SamplingSettings(**card_row.sampling),
        tries=card_row.tries,
        seconds=card_row.seconds,
        liked=signal_value,
    )


def _newest_signals(session: Session, card_ids: Sequence[int]) -> dict[int, int]:
    # Signals are append-only, as labels are: the newest of a card counts.
    newest_ids = select(func.max(PlaySignal.id)).where(PlaySignal.card_id.in_(card_ids)).group_by(PlaySignal.card_id)
    signal_rows = session.execute(select(PlaySignal.card_id, PlaySignal.value).where(PlaySignal.id.in_(newest_ids)))
    return {signal_row.card_id: signal_row.value for signal_row in signal_rows}


def _likes_by_model(session: Session) -> dict[tuple[str, str], tuple[int, int]]:
    newest_ids = select(func.max(PlaySignal.id)).group_by(PlaySignal.card_id)
    signal_rows = session.execute(
        select(PlayCard.generator, PlayCard.model, PlaySignal.value)
        .join(PlayCard, PlayCard.id == PlaySignal.card_id)
        # 0 takes a like back, so it counts on neither side.
        .where(PlaySignal.id.in_(newest_ids), PlaySignal.value != 0)
    )
    counts_by_model: dict[tuple[str, str], tuple[int, int]] = {}
    for generator_name, model_name, signal_value in signal_rows:
        like_count, dislike_count = counts_by_model.get((generator_name, model_name), (0, 0))
        counts_by_model[generator_name, model_name] = (
            like_count + (signal_value > 0),
            dislike_count + (signal_value < 0),
        )
    return counts_by_model
