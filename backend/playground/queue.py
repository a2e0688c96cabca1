"""Whose turn it is: a few cards at a time for each generator, and visitors one after the other."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


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
        """Wait for a slot and hold it; `told` hears how many cards go first."""
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
            if own_turn.done() and not own_turn.cancelled():
                self._release_slot()
            elif own_turn in visitor_queue:
                visitor_queue.remove(own_turn)
                if not visitor_queue:
                    self._waiting_visitors.pop(visitor, None)
            raise

    def cards_ahead(self, visitor: str, card_position: int) -> int:
        """Cards that go before the visitor's card number `place` (0 is the next), as things stand."""
        other_lengths = (
            len(other_queue)
            for other_visitor, other_queue in self._waiting_visitors.items()
            if other_visitor != visitor
        )
        return card_position + sum(min(waiting_count, card_position + 1) for waiting_count in other_lengths)

    def _release_slot(self) -> None:
        while self._waiting_visitors:
            visitor, visitor_queue = next(iter(self._waiting_visitors.items()))
            next_turn = visitor_queue.popleft()
            self._waiting_visitors.move_to_end(visitor)
            if not visitor_queue:
                del self._waiting_visitors[visitor]
            if not next_turn.done():
                next_turn.set_result(None)
                return
        self._free_slots += 1
