"""The writing itself, in the playground's loop: cards of a round, each in its turn, each with an end."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from backend.errors import Message, Unavailable, UserError
from backend.llm.errors import LLMError
from backend.llm.retry import RetryPolicy
from backend.playground.author import Author, Before, Outcome
from backend.playground.live import LiveRound
from backend.playground.queue import FairQueue
from backend.playground.records import CardView
from backend.playground.request import Asked
from backend.playground.store import PlayStore
from backend.playground.vocabulary import FINAL, CardState
from backend.writing.generators import GeneratorInfo, GeneratorKind, GeneratorService
from backend.writing.near import Seen
from backend.writing.wish import read_wish
from backend.writing.writer import Writer

log = logging.getLogger(__name__)

SLOTS = 4
"""Cards that one generator writes at a time, of all visitors together."""
SAVE_S = 1.0
QUICK = RetryPolicy(attempts=2, base_s=0.3, cap_s=2.0)
_BROKEN = Message("Something broke inside and was logged; try again.", "程序内部出错，已写入日志，请重试。")
_STOPPED = Message("Stopped.", "已停下。")


class Press:
    """Use in one event loop."""

    def __init__(self, generators: GeneratorService, store: PlayStore) -> None:
        self._generators = generators
        self._store = store
        self._queues: dict[tuple[str, int], FairQueue] = {}

    async def round(self, live: LiveRound, asked: Asked, infos: Sequence[GeneratorInfo]) -> None:
        """Every card of a new round, all generators beside each other."""
        await self._saved(live, asyncio.gather(*(self._column(live, asked, info) for info in infos)))

    async def again(self, live: LiveRound, info: GeneratorInfo, card: CardView, before: Before) -> None:
        """One more version of a card."""
        seen = Seen()
        for other in live.cards.values():
            if other.generator == info.name and other.text:
                seen.add(other.text)
        prompt = live.round.prompt

        async def work(writer: Writer) -> None:
            author = Author(writer, prompt, read_wish(prompt), seen)
            await self._card(live, writer, author, card, before)

        await self._saved(live, self._with_writer(live, info, [card], work))

    async def _column(self, live: LiveRound, asked: Asked, info: GeneratorInfo) -> None:
        cards = [card for card in live.cards.values() if card.generator == info.name]

        async def work(writer: Writer) -> None:
            author = Author(writer, asked.prompt, asked.wish, Seen())
            await asyncio.gather(*(self._card(live, writer, author, card, None) for card in cards))

        await self._with_writer(live, info, cards, work)

    async def _with_writer(
        self,
        live: LiveRound,
        info: GeneratorInfo,
        cards: Sequence[CardView],
        work: Callable[[Writer], Awaitable[None]],
    ) -> None:
        try:
            if info.kind is GeneratorKind.ARTIFACT:
                for card in cards:
                    live.put(replace(live.cards[card.id], waking=True))
            scope = f"play:{live.round.token}"
            async with await self._generators.open(info.name, scope, policy=QUICK) as writer:
                await work(writer)
        except UserError as error:
            await self._end_all(live, cards, CardState.FAILED, error.message, _kind(error))
        except asyncio.CancelledError:
            await asyncio.shield(self._end_all(live, cards, CardState.STOPPED, _STOPPED))
            raise
        except Exception:
            log.exception("round %s failed", live.round.token)
            await self._end_all(live, cards, CardState.FAILED, _BROKEN)

    async def _card(
        self, live: LiveRound, writer: Writer, author: Author, card: CardView, before: Before | None
    ) -> None:
        slots = min(SLOTS, writer.client.endpoint.concurrency)
        queue = self._queues.setdefault((card.generator, slots), FairQueue(slots))
        state = CardState.FAILED
        try:
            async with queue.turn(
                live.visitor, lambda number: live.change(card.id, ahead=number, waking=False)
            ):
                live.change(card.id, state=CardState.WRITING, ahead=0, waking=False)
                outcome = await author.write(
                    card.sampling, lambda text, number: live.grow(card.id, text, number), before
                )
        except UserError as error:
            outcome = _ended(live.cards[card.id], error.message, _kind(error))
        else:
            state = CardState.DONE if outcome.text and not outcome.broken else CardState.FAILED
        await self._end(live, card.id, state, outcome)

    async def _end_all(
        self, live: LiveRound, cards: Sequence[CardView], state: CardState, note: Message, fault: str = ""
    ) -> None:
        for card in cards:
            now = live.cards[card.id]
            if now.state not in FINAL:
                await self._end(live, card.id, state, _ended(now, note, fault))

    async def _end(self, live: LiveRound, card_id: int, state: CardState, outcome: Outcome) -> None:
        try:
            await asyncio.to_thread(self._store.finish, card_id, state, outcome)
        except Unavailable as error:
            log.warning("card %s was not stored: %s", card_id, error)
            state, outcome = CardState.FAILED, replace(outcome, note=error.message)
        live.change(
            card_id,
            state=state,
            text=outcome.text,
            note=outcome.note,
            fault=outcome.fault,
            tries=outcome.tries,
            seconds=outcome.seconds,
            seed=outcome.seed,
            ahead=0,
            waking=False,
        )

    async def _saved(self, live: LiveRound, work: Awaitable[object]) -> None:
        """The work, and beside it what is shown written down every second."""
        saver = asyncio.ensure_future(self._save(live))
        try:
            await work
        finally:
            saver.cancel()

    async def _save(self, live: LiveRound) -> None:
        known: dict[int, str] = {}
        while True:
            await asyncio.sleep(SAVE_S)
            written = [card for card in live.cards.values() if card.state is CardState.WRITING]
            fresh = {card.id: card.text for card in written if known.get(card.id) != card.text}
            if fresh:
                with suppress(Unavailable):  # what is missing is stored a second later, or with the end
                    await asyncio.to_thread(self._store.grow, fresh)
                    known |= fresh


def _kind(error: UserError) -> str:
    return error.kind.value if isinstance(error, LLMError) else ""


def _ended(card: CardView, note: Message, fault: str) -> Outcome:
    return Outcome(card.text, note, fault, card.tries, card.seconds or 0.0, card.seed)
