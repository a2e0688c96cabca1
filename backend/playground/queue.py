"""Whose turn it is: a few cards at a time for each generator, and visitors one after the other."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class FairQueue:
    """Slots of one generator. With two visitors waiting each gets every other slot, however much they ask.

    Use in one event loop.
    """

    def __init__(self, slots: int) -> None:
        self._free = slots
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @asynccontextmanager
    async def turn(self, visitor: str, told: Callable[[int], None] = lambda _: None) -> AsyncIterator[None]:
        """Wait for a slot and hold it; `told` hears how many cards go first."""
        if self._free > 0 and not self._waiting:
            self._free -= 1
        else:
            await self._wait(visitor, told)
        try:
            yield
        finally:
            self._release()

    async def _wait(self, visitor: str, told: Callable[[int], None]) -> None:
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue = self._waiting.setdefault(visitor, deque())
        queue.append(mine)
        told(self.ahead(visitor, len(queue) - 1))
        try:
            await mine
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled():
                self._release()
            elif mine in queue:
                queue.remove(mine)
                if not queue:
                    self._waiting.pop(visitor, None)
            raise

    def ahead(self, visitor: str, place: int) -> int:
        """Cards that go before the visitor's card number `place` (0 is the next), as things stand."""
        others = (len(queue) for name, queue in self._waiting.items() if name != visitor)
        return place + sum(min(waiting, place + 1) for waiting in others)

    def _release(self) -> None:
        while self._waiting:
            visitor, queue = next(iter(self._waiting.items()))
            mine = queue.popleft()
            self._waiting.move_to_end(visitor)
            if not queue:
                del self._waiting[visitor]
            if not mine.done():
                mine.set_result(None)
                return
        self._free += 1
