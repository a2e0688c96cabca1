"""The writing itself, in the playground's loop: cards of a round, each in its turn, each with an end."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from backend.errors import Message, Unavailable, UserError
from backend.llm.errors import LLMError
from backend.llm.retry import RetryPolicy
from backend.playground.author import CardAuthor, CardOutcome, PreviousVersion
from backend.playground.live import LiveRound
from backend.playground.queue import FairQueue
from backend.playground.records import CardView
from backend.playground.request import ParsedRequest
from backend.playground.store import PlayStore
from backend.playground.vocabulary import FINAL_STATES, CardState
from backend.writing.generators import GeneratorInfo, GeneratorKind, GeneratorService
from backend.writing.near import NearDuplicateIndex
from backend.writing.wish import parse_request
from backend.writing.writer import GreetingWriter

logger = logging.getLogger(__name__)

MAX_SLOTS = 4
"""Cards that one generator writes at a time, of all visitors together."""
SAVE_INTERVAL_S = 1.0
QUICK_RETRY = RetryPolicy(attempts=2, base_pause_s=0.3, max_pause_s=2.0)
_INTERNAL_ERROR = Message("Something broke inside and was logged; try again.", "程序内部出错，已写入日志，请重试。")
_STOPPED_NOTE = Message("Stopped.", "已停下。")


class RoundRunner:
    """Use in one event loop."""

    def __init__(self, generators: GeneratorService, store: PlayStore) -> None:
        self._generators = generators
        self._store = store
        self._card_queues: dict[tuple[str, int], FairQueue] = {}

    async def write_round(
        self, live_round: LiveRound, parsed_request: ParsedRequest, generators: Sequence[GeneratorInfo]
    ) -> None:
        """Every card of a new round, all generators beside each other."""
        await self._run_and_save(
            live_round,
            asyncio.gather(*(self._write_column(live_round, parsed_request, generator) for generator in generators)),
        )

    async def write_version(
        self,
        live_round: LiveRound,
        generator: GeneratorInfo,
        card_view: CardView,
        previous_version: PreviousVersion,
    ) -> None:
        """One more version of a card."""
        near_duplicates = NearDuplicateIndex()
        for other_card in live_round.cards_by_id.values():
            if other_card.generator == generator.name and other_card.text:
                near_duplicates.add_if_new(other_card.text)
        prompt_text = live_round.round.prompt

        async def write_again(greeting_writer: GreetingWriter) -> None:
            card_author = CardAuthor(greeting_writer, prompt_text, parse_request(prompt_text), near_duplicates)
            await self._write_card(live_round, greeting_writer, card_author, card_view, previous_version)

        await self._run_and_save(live_round, self._run_with_writer(live_round, generator, [card_view], write_again))

    async def _write_column(
        self, live_round: LiveRound, parsed_request: ParsedRequest, generator: GeneratorInfo
    ) -> None:
        card_views = [card for card in live_round.cards_by_id.values() if card.generator == generator.name]

        async def write_cards(greeting_writer: GreetingWriter) -> None:
            card_author = CardAuthor(
                greeting_writer, parsed_request.prompt, parsed_request.greeting_request, NearDuplicateIndex()
            )
            await asyncio.gather(
                *(
                    self._write_card(live_round, greeting_writer, card_author, card_view, None)
                    for card_view in card_views
                )
            )

        await self._run_with_writer(live_round, generator, card_views, write_cards)

    async def _run_with_writer(
        self,
        live_round: LiveRound,
        generator: GeneratorInfo,
        card_views: Sequence[CardView],
        writing_work: Callable[[GreetingWriter], Awaitable[None]],
    ) -> None:
        try:
            if generator.kind is GeneratorKind.ARTIFACT:
                for card_view in card_views:
                    live_round.show_card(replace(live_round.cards_by_id[card_view.id], waking=True))
            ledger_scope = f"play:{live_round.round.token}"
            async with await self._generators.open(
                generator.name, ledger_scope, retry_policy=QUICK_RETRY
            ) as greeting_writer:
                await writing_work(greeting_writer)
        except UserError as error:
            await self._end_open_cards(live_round, card_views, CardState.FAILED, error.message, _error_kind(error))
        except asyncio.CancelledError:
            await asyncio.shield(self._end_open_cards(live_round, card_views, CardState.STOPPED, _STOPPED_NOTE))
            raise
        except Exception:
            logger.exception("round %s failed", live_round.round.token)
            await self._end_open_cards(live_round, card_views, CardState.FAILED, _INTERNAL_ERROR)

    async def _write_card(
        self,
        live_round: LiveRound,
        greeting_writer: GreetingWriter,
        card_author: CardAuthor,
        card_view: CardView,
        previous_version: PreviousVersion | None,
    ) -> None:
        slot_count = min(MAX_SLOTS, greeting_writer.client.endpoint.concurrency)
        card_queue = self._card_queues.setdefault((card_view.generator, slot_count), FairQueue(slot_count))
        final_state = CardState.FAILED
        try:
            async with card_queue.wait_for_turn(
                live_round.visitor, lambda number: live_round.change(card_view.id, ahead=number, waking=False)
            ):
                live_round.change(card_view.id, state=CardState.WRITING, ahead=0, waking=False)
                outcome = await card_author.write_card(
                    card_view.sampling,
                    lambda text, number: live_round.show_growing_text(card_view.id, text, number),
                    previous_version,
                )
        except UserError as error:
            outcome = _ended_outcome(live_round.cards_by_id[card_view.id], error.message, _error_kind(error))
        else:
            final_state = CardState.DONE if outcome.text and not outcome.broken else CardState.FAILED
        await self._end_card(live_round, card_view.id, final_state, outcome)

    async def _end_open_cards(
        self,
        live_round: LiveRound,
        card_views: Sequence[CardView],
        final_state: CardState,
        end_note: Message,
        fault_name: str = "",
    ) -> None:
        for card_view in card_views:
            current_card = live_round.cards_by_id[card_view.id]
            if current_card.state not in FINAL_STATES:
                await self._end_card(
                    live_round, card_view.id, final_state, _ended_outcome(current_card, end_note, fault_name)
                )

    async def _end_card(
        self, live_round: LiveRound, card_id: int, final_state: CardState, card_outcome: CardOutcome
    ) -> None:
        try:
            await asyncio.to_thread(self._store.finish, card_id, final_state, card_outcome)
        except Unavailable as error:
            logger.warning("card %s was not stored: %s", card_id, error)
            final_state, card_outcome = CardState.FAILED, replace(card_outcome, note=error.message)
        live_round.change(
            card_id,
            state=final_state,
            text=card_outcome.text,
            note=card_outcome.note,
            fault=card_outcome.fault,
            tries=card_outcome.tries,
            seconds=card_outcome.seconds,
            seed=card_outcome.seed,
            ahead=0,
            waking=False,
        )

    async def _run_and_save(self, live_round: LiveRound, writing_work: Awaitable[object]) -> None:
        """The work, and beside it what is shown written down every second."""
        save_task = asyncio.ensure_future(self._save_periodically(live_round))
        try:
            await writing_work
        finally:
            save_task.cancel()

    async def _save_periodically(self, live_round: LiveRound) -> None:
        saved_texts: dict[int, str] = {}
        while True:
            await asyncio.sleep(SAVE_INTERVAL_S)
            growing_cards = [
                card_view for card_view in live_round.cards_by_id.values() if card_view.state is CardState.WRITING
            ]
            changed_texts = {
                card_view.id: card_view.text
                for card_view in growing_cards
                if saved_texts.get(card_view.id) != card_view.text
            }
            if changed_texts:
                with suppress(Unavailable):  # what is missing is stored a second later, or with the end
                    await asyncio.to_thread(self._store.save_growing_texts, changed_texts)
                    saved_texts |= changed_texts


def _error_kind(error: UserError) -> str:
    return error.kind.value if isinstance(error, LLMError) else ""


def _ended_outcome(card_view: CardView, end_note: Message, fault_name: str) -> CardOutcome:
    return CardOutcome(card_view.text, end_note, fault_name, card_view.tries, card_view.seconds or 0.0, card_view.seed)
