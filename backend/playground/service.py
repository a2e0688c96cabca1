"""The facade that pages and commands call. Writing goes on in a loop of its own, whoever looks."""

import secrets
import threading
import time
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, replace
from typing import Any

from backend.db.engine import Database
from backend.errors import Conflict, UserError
from backend.playground.author import STRIDE, Before
from backend.playground.live import LiveRound
from backend.playground.loop import Loop
from backend.playground.press import Press
from backend.playground.records import CardView, ModelTally, PlayRequest, RoundView
from backend.playground.request import MOST_MODELS, Asked, read_request
from backend.playground.sampling import sampling_for
from backend.playground.store import PlayStore, no_round
from backend.playground.vocabulary import FINAL, Change
from backend.writing.generators import GeneratorInfo, GeneratorService
from backend.writing.writer import BIGGEST_SEED

MINE, ALL = 3, 40
"""Rounds that may run at a time: of one visitor, of everybody."""
KEEP_S = 600.0


class PlayService:
    """Rounds of greetings: begun, watched, stopped, changed, liked."""

    def __init__(self, database: Database, generators: GeneratorService) -> None:
        self._store = PlayStore(database)
        self._generators = generators
        self._press = Press(generators, self._store)
        self._loop = Loop("zhufu-play")
        self._live: dict[str, LiveRound] = {}
        self._works: dict[str, list[Future[None]]] = {}
        self._lock = threading.Lock()

    def begin(self, request: PlayRequest, visitor: str) -> RoundView:
        """Read the request, store the round and begin to write it; returns at once.

        Raises UserError for what cannot be answered, Conflict where too much is being written.
        """
        asked = read_request(request)
        infos = self._chosen(request.generators)
        seed = secrets.randbelow(BIGGEST_SEED) if request.seed is None else request.seed
        cards = [card for info in infos for card in _cards(info, request, asked, seed)]
        with self._lock:
            self._make_room(visitor)
            token = secrets.token_hex(16)
            stored = self._store.begin(token, visitor, asked.prompt, _wish(request, asked), seed, cards)
            live = self._keep(stored, visitor)
        self._go(live, self._press.round(live, asked, infos))
        return live.view()

    def view(self, token: str, visitor: str) -> RoundView:
        """A round as it stands. Raises NotFound, also for another visitor's."""
        live = self._live.get(token)
        if live is None:
            return self._store.round(token, visitor)
        if live.visitor != visitor:
            raise no_round()
        return live.view()

    def recent(self, visitor: str, limit: int = 5) -> list[RoundView]:
        """The visitor's newest rounds, finished or not."""
        stored = self._store.recent(visitor, limit)
        return [live.view() if (live := self._live.get(view.token)) else view for view in stored]

    def stop(self, token: str, visitor: str) -> RoundView:
        """End the writing of a round; what was shown stays. Harmless twice. Raises NotFound."""
        self.view(token, visitor)
        for work in self._works.get(token, []):
            work.cancel()
        return self.view(token, visitor)

    def change(self, card_id: int, change: Change, visitor: str) -> RoundView:
        """Another version of a card at the same place. Raises NotFound, and Conflict as `begin` does."""
        live = self._awake(self._store.token_of(card_id, visitor), visitor)
        card = live.cards[card_id]
        info = self._chosen((card.generator,))[0]
        with self._lock:
            if any(other.state not in FINAL for other in live.versions(card)):
                raise Conflict("This greeting is still being written.", "这一条还在写，请稍等。")
            self._make_room(visitor)
            self._live[live.round.token] = live
            made = self._store.add(live.round.token, _another(card, info, change))
            live.put(made)
        # Where nothing was written there is nothing to shorten: it is simply asked again.
        before = Before(card.text, change if card.text else Change.AGAIN)
        self._go(live, self._press.again(live, info, made, before))
        return live.view()

    def signal(self, card_id: int, visitor: str, value: int, request_id: str) -> CardView:
        """Like (1), dislike (-1), or neither (0). Raises NotFound, UserError."""
        if value not in (-1, 0, 1):
            raise UserError("A signal is 1, -1 or 0.", "评价只能是喜欢、不喜欢或取消。")
        token = self._store.token_of(card_id, visitor)
        self._store.signal(card_id, visitor, value, request_id)
        live = self._awake(token, visitor)
        live.change(card_id, liked=value)
        return live.cards[card_id]

    def card(self, card_id: int, visitor: str) -> tuple[RoundView, CardView]:
        """A card with its round. Raises NotFound."""
        view = self.view(self._store.token_of(card_id, visitor), visitor)
        return view, next(card for card in view.cards if card.id == card_id)

    def tallies(self) -> list[ModelTally]:
        """What every model wrote here, and what visitors thought of it."""
        return self._store.tallies()

    def wait(self, token: str) -> None:
        """Until the round is written, for commands."""
        for work in self._works.get(token, []):
            work.result()

    def close(self) -> None:
        """Stop everything; what was shown is stored."""
        self._loop.close()

    def _chosen(self, names: Sequence[str]) -> list[GeneratorInfo]:
        unique = list(dict.fromkeys(names))
        if not 0 < len(unique) <= MOST_MODELS:
            raise UserError(f"Choose 1 to {MOST_MODELS} models.", f"请选择 1 到 {MOST_MODELS} 个模型。")
        return [self._generators.info(name) for name in unique]

    def _make_room(self, visitor: str) -> None:
        since = time.monotonic() - KEEP_S
        for token, live in list(self._live.items()):
            if not live.running and live.touched < since:
                del self._live[token]
                self._works.pop(token, None)
        running = [live for live in self._live.values() if live.running]
        if sum(live.visitor == visitor for live in running) >= MINE:
            raise Conflict(
                "Your earlier requests are still being written; wait for one or stop it.",
                "您前面的请求还在写，请等写完一个，或先停下一个。",
            )
        if len(running) >= ALL:
            raise Conflict(
                "Very many people are writing just now; try again in a minute.",
                "现在写祝福的人太多，请过一分钟再试。",
            )

    def _keep(self, view: RoundView, visitor: str) -> LiveRound:
        live = LiveRound(view, visitor, {card.id: card for card in view.cards})
        live.touched = time.monotonic()
        self._live[view.token] = live
        return live

    def _awake(self, token: str, visitor: str) -> LiveRound:
        """The round in memory, brought back where it was finished long ago."""
        with self._lock:
            live = self._live.get(token) or self._keep(self._store.round(token, visitor), visitor)
            live.touched = time.monotonic()
            return live

    def _go(self, live: LiveRound, work: Coroutine[Any, Any, None]) -> None:
        works = self._works.setdefault(live.round.token, [])
        works[:] = [future for future in works if not future.done()]
        works.append(self._loop.submit(work))


def _cards(info: GeneratorInfo, request: PlayRequest, asked: Asked, seed: int) -> list[dict[str, Any]]:
    draws = [sampling_for(info.sampling, request.sampling, seed + place) for place in range(asked.count)]
    return [
        {
            "generator": info.name,
            "model": info.model,
            "place": place,
            "seed": draw.seed,
            "sampling": asdict(draw),
        }
        for place, draw in enumerate(draws)
    ]


def _another(card: CardView, info: GeneratorInfo, change: Change) -> dict[str, Any]:
    seed = (card.seed + STRIDE * 101) % BIGGEST_SEED
    return {
        "generator": card.generator,
        "model": info.model,
        "place": card.place,
        "change": change.value,
        "seed": seed,
        "sampling": asdict(replace(card.sampling, seed=seed)),
    }


def _wish(request: PlayRequest, asked: Asked) -> Mapping[str, Any]:
    """What was entered, so that a page can show it again."""
    return {
        "text": request.text,
        "fields": asdict(request.fields),
        "count": asked.count,
        "generators": list(dict.fromkeys(request.generators)),
        "sampling": dict(request.sampling),
        "note": {"en": asked.note.en, "zh": asked.note.zh} if asked.note else None,
    }
