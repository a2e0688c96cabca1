"""From synchronous code into asynchronous code and back."""

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

ResultT = TypeVar("ResultT")


def run_blocking(coroutine: Coroutine[Any, Any, ResultT]) -> ResultT:
    """The result of `work`, awaited to its end; in a thread where this one already runs an event loop,
    as that of a notebook does."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(asyncio.run, coroutine).result()
