"""A mount that is built after the server is up: pages in the other language cost the start nothing."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

HEAD_START_S = 2.0
"""Seconds that the first visitors have the processor for themselves."""


class DeferredApp:
    """An application below `prefix`, built in a thread soon after the start or at its first request."""

    def __init__(self, url_prefix: str, build_app: Callable[[], FastAPI]) -> None:
        self.url_prefix = url_prefix
        self._build_app = build_app
        self._build_lock = asyncio.Lock()
        self._exit_stack = AsyncExitStack()
        self._built_app: FastAPI | None = None

    def attach_to(self, outer_app: FastAPI) -> None:
        """Answer what lies below the prefix, live as long as `app`."""
        outer_lifespan = outer_app.router.lifespan_context

        @asynccontextmanager
        async def lifespan(running_app: FastAPI) -> AsyncIterator[Any]:
            async with outer_lifespan(running_app) as lifespan_state, self._exit_stack:
                build_task = asyncio.create_task(self._build_soon())
                yield lifespan_state
                build_task.cancel()

        outer_app.router.lifespan_context = lifespan
        outer_app.add_middleware(_DeferredGate, later=self)

    def owns_request(self, scope: Scope) -> bool:
        """Whether this request is for the application below the prefix."""
        request_path = scope.get("path", "")
        is_below_prefix = request_path == self.url_prefix or request_path.startswith(f"{self.url_prefix}/")
        return bool(scope["type"] != "lifespan" and is_below_prefix)

    async def ensure_built(self) -> FastAPI:
        """The application, built and started by whoever comes first."""
        async with self._build_lock:
            if self._built_app is None:
                built_app = await asyncio.to_thread(self._build_app)
                await self._exit_stack.enter_async_context(built_app.router.lifespan_context(built_app))
                self._built_app = built_app
            return self._built_app

    async def _build_soon(self) -> None:
        await asyncio.sleep(HEAD_START_S)
        await self.ensure_built()


class _DeferredGate:
    def __init__(self, wrapped_app: ASGIApp, later: DeferredApp) -> None:
        self._wrapped_app = wrapped_app
        self._deferred_app = later

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        target_app = (
            await self._deferred_app.ensure_built() if self._deferred_app.owns_request(scope) else self._wrapped_app
        )
        await target_app(scope, receive, send)
