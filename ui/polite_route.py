"""Routes that answer errors as sentences: {"error": {"zh": …, "en": …}}, never a traceback."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute

from backend.errors import Conflict, Message, NotFound, UserError

log = logging.getLogger(__name__)

MAX_BODY = 64 * 1024
_TOO_LARGE = Message("The request is too large (at most 64 KB).", "请求太大，最多 64 KB。")
_BROKEN = Message(
    "Something broke inside and was logged; nothing was saved. Please try again.",
    "程序内部出错，已写入日志，没有保存；请重试。",
)


class Unknown(UserError):
    """Nobody is signed in here."""


class PoliteRoute(APIRoute):
    """Refuses what is too large and words every error for people; `guard` has refused other sites before."""

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
        """The handler with all of that around it."""
        handler = super().get_route_handler()

        async def polite(request: Request) -> Response:
            if refusal := _refuse(request):
                return refusal
            try:
                return await handler(request)
            except UserError as error:
                return answer(_status(error), error.message)
            except RequestValidationError as error:
                return answer(422, _field(error))
            except Exception:
                log.exception("%s failed", request.url.path)
                return answer(500, _BROKEN)

        return polite


def answer(status: int, message: Message) -> JSONResponse:
    """An error as the pages expect it."""
    return JSONResponse({"error": {"zh": message.zh, "en": message.en}}, status)


def _status(error: UserError) -> int:
    if isinstance(error, Unknown):
        return 401
    if isinstance(error, NotFound):
        return 404
    return 409 if isinstance(error, Conflict) else 400


def _refuse(request: Request) -> Response | None:
    if request.method == "GET":
        return None
    length = request.headers.get("content-length", "")
    if not length.isdigit() or int(length) > MAX_BODY:
        return answer(413, _TOO_LARGE)
    return None


def _field(error: RequestValidationError) -> Message:
    first: dict[str, Any] = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"] if part != "body") or "body"
    return Message(f"{name} is not usable: {first['msg']}.", f"字段 {name} 不可用：{first['msg']}。")
