"""An event loop in a thread of its own, so that writing goes on whatever page looks or leaves."""

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

ResultT = TypeVar("ResultT")


class BackgroundLoop:
    """Started at first use. Safe to use from several threads."""

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
        asyncio.run_coroutine_threadsafe(_cancel_all(), event_loop).result(10)
        event_loop.call_soon_threadsafe(event_loop.stop)
        loop_thread.join(10)
        event_loop.close()

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._start_lock:
            if self._event_loop is None:
                self._event_loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=self._event_loop.run_forever, name=self._thread_name, daemon=True
                )
                self._thread.start()
            return self._event_loop


async def _cancel_all() -> None:
    other_tasks = [other_task for other_task in asyncio.all_tasks() if other_task is not asyncio.current_task()]
    for other_task in other_tasks:
        other_task.cancel()
    await asyncio.gather(*other_tasks, return_exceptions=True)
