"""Rounds, cards and signals in the database: short transactions, and nothing is ever overwritten later."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from backend.db.base import now
from backend.db.engine import VOTE_WAIT_S, Database
from backend.db.insert import insert_ignore
from backend.db.play_tables import PlayCard, PlayRound, PlaySignal
from backend.errors import Message, NotFound
from backend.playground.author import Outcome
from backend.playground.records import CardView, ModelTally, RoundView
from backend.playground.vocabulary import FINAL, CardState, Change
from backend.writing.writer import Sampling

_OPEN = [state for state in CardState if state not in FINAL]
_FINISH_WAIT_S = 60.0
_INTERRUPTED = Message(
    "The application was restarted before this one was finished.", "应用重启过，这一条没有写完。"
)


class PlayStore:
    """What was asked, shown and liked."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(
        self,
        token: str,
        visitor: str,
        prompt: str,
        wish: Mapping[str, Any],
        seed: int,
        cards: Iterable[Mapping[str, Any]],
    ) -> RoundView:
        """Store a round with its cards, all waiting."""
        with self._database.write(VOTE_WAIT_S) as session:
            row = PlayRound(token=token, visitor=visitor, prompt=prompt, wish=dict(wish), seed=seed)
            session.add(row)
            session.flush()
            session.add_all(PlayCard(round_id=row.id, state=CardState.WAITING, **card) for card in cards)
            session.flush()
            return _view(session, row, stale=False)

    def add(self, token: str, card: Mapping[str, Any]) -> CardView:
        """One more version of a card of the round, waiting."""
        with self._database.write(VOTE_WAIT_S) as session:
            row = _round(session, token)
            same = (PlayCard.round_id == row.id, PlayCard.generator == card["generator"])
            newest = session.scalar(
                select(func.max(PlayCard.version)).where(*same, PlayCard.place == card["place"])
            )
            made = PlayCard(round_id=row.id, state=CardState.WAITING, version=(newest or 0) + 1, **dict(card))
            session.add(made)
            session.flush()
            return _card(made, 0, stale=False)

    def grow(self, texts: Mapping[int, str]) -> None:
        """Keep what is shown of unfinished cards, so that a restart loses at most a second."""
        with self._database.write() as session:
            for card_id, text in texts.items():
                unfinished = (PlayCard.id == card_id, PlayCard.state.in_(_OPEN))
                session.execute(update(PlayCard).where(*unfinished).values(text=text))

    def finish(self, card_id: int, state: CardState, outcome: Outcome) -> None:
        """The last word on a card; nobody waits for it, so it waits for the database instead."""
        note = outcome.note or Message("", "")
        with self._database.write(_FINISH_WAIT_S) as session:
            session.execute(
                update(PlayCard)
                .where(PlayCard.id == card_id, PlayCard.state.in_(_OPEN))
                .values(
                    state=state,
                    text=outcome.text,
                    fault=outcome.fault,
                    note_en=note.en,
                    note_zh=note.zh,
                    tries=outcome.tries,
                    seconds=outcome.seconds,
                    seed=outcome.seed,
                    call_id=outcome.call_id,
                )
            )

    def round(self, token: str, visitor: str) -> RoundView:
        """A round of this visitor. Raises NotFound, also for one of another's."""
        with self._database.read() as session:
            row = _round(session, token)
            if row.visitor != visitor:
                raise no_round()
            return _view(session, row, stale=True)

    def recent(self, visitor: str, limit: int) -> list[RoundView]:
        """The visitor's newest rounds."""
        query = select(PlayRound).where(PlayRound.visitor == visitor).order_by(PlayRound.id.desc())
        with self._database.read() as session:
            rows = session.scalars(query.limit(limit)).all()
            return [_view(session, row, stale=True) for row in rows]

    def token_of(self, card_id: int, visitor: str) -> str:
        """The round that holds a card of this visitor. Raises NotFound."""
        query = select(PlayRound.token).join(PlayCard, PlayCard.round_id == PlayRound.id)
        with self._database.read() as session:
            found = session.scalar(query.where(PlayCard.id == card_id, PlayRound.visitor == visitor))
        if found is None:
            raise NotFound("There is no such greeting.", "没有这条祝福。")
        return found

    def signal(self, card_id: int, visitor: str, value: int, request_id: str) -> None:
        """Like (1), dislike (-1) or neither (0); the same request twice is one."""
        row = {"card_id": card_id, "visitor": visitor, "value": value, "request_id": request_id}
        with self._database.write(VOTE_WAIT_S) as session:
            insert_ignore(session, PlaySignal, [{**row, "created_at": now()}])

    def tallies(self) -> list[ModelTally]:
        """What every model wrote here, the one that wrote last first."""
        with self._database.read() as session:
            rows = session.execute(
                select(
                    PlayCard.generator,
                    PlayCard.model,
                    func.count(),
                    func.count(PlayCard.round_id.distinct()),
                )
                .where(PlayCard.state == CardState.DONE, PlayCard.text != "")
                .group_by(PlayCard.generator, PlayCard.model)
                .order_by(func.max(PlayCard.id).desc())
            ).all()
            liked = _liked_by_model(session)
        return [
            ModelTally(generator, model, cards, rounds, *liked.get((generator, model), (0, 0)))
            for generator, model, cards, rounds in rows
        ]


def _round(session: Session, token: str) -> PlayRound:
    row = session.scalar(select(PlayRound).where(PlayRound.token == token))
    if row is None:
        raise no_round()
    return row


def no_round() -> NotFound:
    """For a round that is not there, or not this visitor's."""
    return NotFound("There is no such request (any more).", "没有找到这次请求。")


def _view(session: Session, row: PlayRound, *, stale: bool) -> RoundView:
    cards = session.scalars(select(PlayCard).where(PlayCard.round_id == row.id).order_by(PlayCard.id)).all()
    liked = _newest_signals(session, [card.id for card in cards])
    note = row.wish.get("note")
    return RoundView(
        token=row.token,
        prompt=row.prompt,
        wish=row.wish,
        seed=row.seed,
        created_at=row.created_at,
        cards=tuple(_card(card, liked.get(card.id, 0), stale=stale) for card in cards),
        running=False,
        revision=0,
        note=Message(note["en"], note["zh"]) if note else None,
    )


def _card(row: PlayCard, liked: int, *, stale: bool) -> CardView:
    """`stale`: nobody writes this round any more, so a card that is not finished never will be."""
    gone = stale and row.state in _OPEN
    note = Message(row.note_en, row.note_zh) if row.note_en else None
    return CardView(
        id=row.id,
        generator=row.generator,
        model=row.model,
        place=row.place,
        version=row.version,
        change=Change(row.change) if row.change else None,
        state=CardState.STOPPED if gone else row.state,
        text=row.text,
        note=_INTERRUPTED if gone else note,
        fault=row.fault,
        seed=row.seed,
        sampling=Sampling(**row.sampling),
        tries=row.tries,
        seconds=row.seconds,
        liked=liked,
    )


def _newest_signals(session: Session, cards: Sequence[int]) -> dict[int, int]:
    newest = select(func.max(PlaySignal.id)).where(PlaySignal.card_id.in_(cards)).group_by(PlaySignal.card_id)
    rows = session.execute(select(PlaySignal.card_id, PlaySignal.value).where(PlaySignal.id.in_(newest)))
    return {row.card_id: row.value for row in rows}


def _liked_by_model(session: Session) -> dict[tuple[str, str], tuple[int, int]]:
    newest = select(func.max(PlaySignal.id)).group_by(PlaySignal.card_id)
    rows = session.execute(
        select(PlayCard.generator, PlayCard.model, PlaySignal.value)
        .join(PlayCard, PlayCard.id == PlaySignal.card_id)
        .where(PlaySignal.id.in_(newest), PlaySignal.value != 0)
    )
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for generator, model, value in rows:
        likes, dislikes = found.get((generator, model), (0, 0))
        found[generator, model] = (likes + (value > 0), dislikes + (value < 0))
    return found
