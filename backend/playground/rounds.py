"""Rounds being written, in an event loop of their own: whose turn it is, what every page that looks sees."""

import asyncio
import logging
import threading
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from backend.core.enums import FINAL_STATES, CardState
from backend.core.errors import Message, Unavailable, UserError
from backend.generation.generators import GeneratorInfo, GeneratorKind, GeneratorService
from backend.generation.near_duplicates import NearDuplicateIndex
from backend.generation.request import parse_request
from backend.generation.writer import GreetingWriter
from backend.llm.errors import LLMError
from backend.llm.limiter import RetryPolicy
from backend.playground.cards import CardAuthor, CardOutcome, PreviousVersion
from backend.playground.records import CardView, ParsedRequest, RoundView
from backend.playground.store import PlayStore

ResultT = TypeVar("ResultT")


class BackgroundLoop:
    """An event loop in a thread of its own, started at first use. Safe to use from several threads.

    Rounds live here and not in the server's loop: they go on when the page that asked for them is gone.
    """

    def __init__(self, thread_name: str) -> None:
        self._thread_name = thread_name
        self._start_lock = threading.Lock()
        self._event_loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def submit_work(self, coroutine: Coroutine[Any, Any, ResultT]) -> "Future[ResultT]":
        """Run it in the loop; the future may be cancelled from any thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._running_loop())

    def close(self) -> None:
        """Cancel whatever runs, and end the thread."""
        with self._start_lock:
            event_loop, loop_thread = self._event_loop, self._thread
            self._event_loop = self._thread = None
        if event_loop is None or loop_thread is None:
            return
        # Cancelled before the loop stops: the tasks write down what they have shown.
        asyncio.run_coroutine_threadsafe(_cancel_all(), event_loop).result(10)
        event_loop.call_soon_threadsafe(event_loop.stop)
        loop_thread.join(10)
        event_loop.close()

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._start_lock:
            if self._event_loop is None:
                self._event_loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    # daemon: a process that ends without close() must not wait for a loop that never ends.
                    target=self._event_loop.run_forever,
                    name=self._thread_name,
                    daemon=True,
                )
                self._thread.start()
            return self._event_loop


async def _cancel_all() -> None:
    other_tasks = [other_task for other_task in asyncio.all_tasks() if other_task is not asyncio.current_task()]
    for other_task in other_tasks:
        other_task.cancel()
    await asyncio.gather(*other_tasks, return_exceptions=True)


class FairQueue:
    """Slots of one generator. With two visitors waiting each gets every other slot, however much they ask.

    Use in one event loop.
    """

    def __init__(self, slot_count: int) -> None:
        self._free_slots = slot_count
        self._waiting_visitors: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @asynccontextmanager
    async def wait_for_turn(
        self, visitor: str, on_position: Callable[[int], None] = lambda _: None
    ) -> AsyncIterator[None]:
        """Wait for a slot and hold it; `on_position` gets how many cards go first, once, where it has to wait."""
        # Whoever comes just as a slot is free must not overtake those who wait.
        if self._free_slots > 0 and not self._waiting_visitors:
            self._free_slots -= 1
        else:
            await self._wait_in_line(visitor, on_position)
        try:
            yield
        finally:
            self._release_slot()

    async def _wait_in_line(self, visitor: str, on_position: Callable[[int], None]) -> None:
        own_turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        visitor_queue = self._waiting_visitors.setdefault(visitor, deque())
        visitor_queue.append(own_turn)
        on_position(self.cards_ahead(visitor, len(visitor_queue) - 1))
        try:
            await own_turn
        except asyncio.CancelledError:
            # The slot was handed over in the same moment: without this it would be gone for good.
            if own_turn.done() and not own_turn.cancelled():
                self._release_slot()
            elif own_turn in visitor_queue:
                visitor_queue.remove(own_turn)
                if not visitor_queue:
                    self._waiting_visitors.pop(visitor, None)
            raise

    def cards_ahead(self, visitor: str, card_position: int) -> int:
        """Cards that go before the visitor's card at `card_position` (0 is the next), as things stand."""
        other_lengths = (
            len(other_queue)
            for other_visitor, other_queue in self._waiting_visitors.items()
            if other_visitor != visitor
        )
        # Visitors take turns: before one's card at place p each other visitor has had at most p + 1 turns.
        return card_position + sum(min(waiting_count, card_position + 1) for waiting_count in other_lengths)

    def _release_slot(self) -> None:
        while self._waiting_visitors:
            visitor, visitor_queue = next(iter(self._waiting_visitors.items()))
            next_turn = visitor_queue.popleft()
            # To the end of the line whatever is still waiting: that is what makes the turns fair.
            self._waiting_visitors.move_to_end(visitor)
            if not visitor_queue:
                del self._waiting_visitors[visitor]
            # A turn that was cancelled while it waited passes to the next one.
            if not next_turn.done():
                next_turn.set_result(None)
                return
        self._free_slots += 1


_RETRY_NOTE = Message("Not good enough, writing it anew …", "这条不够好，正在重写……")


@dataclass(eq=False)
class LiveRound:
    """The cards of a round in memory. Changed in the playground's own loop, read from any thread."""

    round: RoundView
    visitor: str
    cards_by_id: dict[int, CardView] = field(default_factory=dict)
    revision: int = 0
    touched_at: float = 0.0

    @property
    def running(self) -> bool:
        """Whether any card is still to be written."""
        # list() first: pages read from other threads, and a dict that grows meanwhile would raise.
        return any(card_view.state not in FINAL_STATES for card_view in list(self.cards_by_id.values()))

    def is_written(self, card_place: tuple[str, int] | None) -> bool:
        """Whether some version of the card of this generator and place is still to be written."""
        return any(
            card_view.state not in FINAL_STATES and (card_view.generator, card_view.place) == card_place
            for card_view in list(self.cards_by_id.values())
        )

    def show_card(self, card_view: CardView) -> None:
        """Show a card as it is now."""
        self.cards_by_id[card_view.id] = card_view
        self.revision += 1

    def change(self, card_id: int, **values: Any) -> None:
        """Show a card with these values changed."""
        self.show_card(replace(self.cards_by_id[card_id], **values))

    def show_growing_text(self, card_id: int, text_so_far: str, try_index: int) -> None:
        """The text so far of a card, in its try `try_index` (0 is the first)."""
        self.change(card_id, text=text_so_far, tries=try_index + 1, note=_RETRY_NOTE if try_index else None)

    def view(self) -> RoundView:
        """The round as it stands."""
        card_views = list(self.cards_by_id.values())
        card_views.sort(key=lambda card: card.id)
        return replace(self.round, cards=tuple(card_views), running=self.running, revision=self.revision)


logger = logging.getLogger(__name__)

# Cards that one generator writes at a time, of all visitors together.
MAX_SLOTS = 4
SAVE_INTERVAL_S = 1.0
# A visitor looks at an empty card while a call is repeated: one more try, soon, then the sentence.
QUICK_RETRY = RetryPolicy(attempts=2, base_pause_s=0.3, max_pause_s=2.0)
_INTERNAL_ERROR = Message("Something broke inside and was logged; try again.", "程序内部出错，已写入日志，请重试。")
_STOPPED_NOTE = Message("Stopped.", "已停下。")


class RoundRunner:
    """Writes the cards of rounds, shows them as they grow, and stores how they end. Use in one event loop."""

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
        # Against everything this generator shows in the round:
        # a new version must not repeat the card beside it.
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
                    # Waking a policy takes seconds (5.8 s measured):
                    # the page says so instead of showing an empty card.
                    live_round.show_card(replace(live_round.cards_by_id[card_view.id], waking=True))
            ledger_scope = f"play:{live_round.round.token}"
            async with await self._generators.open(
                generator.name, ledger_scope, retry_policy=QUICK_RETRY
            ) as greeting_writer:
                await writing_work(greeting_writer)
        except UserError as error:
            await self._end_open_cards(live_round, card_views, CardState.FAILED, error.message, _error_kind(error))
        except asyncio.CancelledError:
            # Shielded: whoever stops a round twice must not leave its cards open for ever.
            await asyncio.shield(self._end_open_cards(live_round, card_views, CardState.STOPPED, _STOPPED_NOTE))
            raise
        except Exception:
            # The visitor gets a sentence without details; whoever runs the server finds them in the log.
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
        # A model served here has concurrency 1: it answers one
        # request after the other anyway, and in a row the seeds hold.
        slot_count = min(MAX_SLOTS, greeting_writer.client.endpoint.concurrency)
        # One queue for a generator, of all rounds and visitors;
        # an endpoint whose concurrency was edited gets a new one.
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
            # In a thread: the store may wait for the database, and all rounds share this loop.
            await asyncio.to_thread(self._store.finish, card_id, final_state, card_outcome)
        except Unavailable as error:
            logger.warning("card %s was not stored: %s", card_id, error)
            # The text stays on the page with the reason: called
            # done, it would be gone after a restart without a word.
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
                # Only what has grown: a model that pauses must not cost a write each second.
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
