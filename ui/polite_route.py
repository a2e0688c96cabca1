"""Routes that answer errors as sentences: {"error": {"zh": …, "en": …}}, never a traceback."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi.routing import APIRoute

from backend.errors import Busy, Conflict, Message, NotFound, Unavailable, UserError
from backend.files import disk_fault

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
            except Unavailable as error:
                log.warning("%s: %s", request.url.path, error)
                return _unavailable(error)
            except UserError as error:
                return answer(_status(error), error.message)
            except RequestValidationError as error:
                return answer(422, _field(error))
            except OSError as error:
                log.exception("%s failed", request.url.path)
                fault = disk_fault(error)
                return _unavailable(fault) if fault else answer(500, _BROKEN)
            except Exception:
                log.exception("%s failed", request.url.path)
                return answer(500, _BROKEN)

        return polite


def answer(status: int, message: Message, **more: str) -> JSONResponse:
    """An error as the pages expect it, with `more` beside it."""
    return JSONResponse({"error": {"zh": message.zh, "en": message.en}, **more}, status)


def _unavailable(error: Unavailable) -> JSONResponse:
    """503; with Retry-After where coming again soon may help."""
    reply = answer(503, error.message)
    if isinstance(error, Busy):
        reply.headers["Retry-After"] = str(error.retry_after_s)
    return reply


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


def disk_refused(request: Request, error: Exception) -> Response:
    """What Gradio's own routes answer, for an upload above all, where the disk takes no more."""
    fault = disk_fault(error) if isinstance(error, OSError) else None
    if fault is None:
        raise error
    log.warning("%s: %s", request.url.path, fault)
    return PlainTextResponse(f"{fault.text('zh')} {fault.text('en')}", 507)
