"""A mount that is built after the server is up: pages in the other language cost the start nothing."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

HEAD_START = 2.0
"""Seconds that the first visitors have the processor for themselves."""


class Later:
    """An application below `prefix`, built in a thread soon after the start or at its first request."""

    def __init__(self, prefix: str, make: Callable[[], FastAPI]) -> None:
        self.prefix = prefix
        self._make = make
        self._lock = asyncio.Lock()
        self._stack = AsyncExitStack()
        self._built: FastAPI | None = None

    def join(self, app: FastAPI) -> None:
        """Answer what lies below the prefix, live as long as `app`."""
        before = app.router.lifespan_context

        @asynccontextmanager
        async def lifespan(outer: FastAPI) -> AsyncIterator[Any]:
            async with before(outer) as state, self._stack:
                soon = asyncio.create_task(self._soon())
                yield state
                soon.cancel()

        app.router.lifespan_context = lifespan
        app.add_middleware(_Gate, later=self)

    def owns(self, scope: Scope) -> bool:
        """Whether this request is for the application below the prefix."""
        path = scope.get("path", "")
        ours = path == self.prefix or path.startswith(f"{self.prefix}/")
        return bool(scope["type"] != "lifespan" and ours)

    async def ready(self) -> FastAPI:
        """The application, built and started by whoever comes first."""
        async with self._lock:
            if self._built is None:
                built = await asyncio.to_thread(self._make)
                await self._stack.enter_async_context(built.router.lifespan_context(built))
                self._built = built
            return self._built

    async def _soon(self) -> None:
        await asyncio.sleep(HEAD_START)
        await self.ready()


class _Gate:
    def __init__(self, app: ASGIApp, later: Later) -> None:
        self._app = app
        self._later = later

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = await self._later.ready() if self._later.owns(scope) else self._app
        await app(scope, receive, send)
