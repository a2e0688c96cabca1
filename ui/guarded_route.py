"""A route for our own pages' scripts: same origin, small JSON bodies, errors as sentences."""

import logging
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import urlsplit

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.types import Message

from backend.annotation.desk import UnknownRater
from backend.errors import Conflict, NotFound, UserError

log = logging.getLogger(__name__)

LARGEST_BODY = 64 * 1024
_STATUS = ((UnknownRater, 401), (NotFound, 404), (Conflict, 409), (UserError, 400))


class Refused(Exception):
    """A request that is turned away before it is read."""

    def __init__(self, status: int, en: str, zh: str) -> None:
        super().__init__(en)
        self.status = status
        self.error = UserError(en, zh)


class GuardedRoute(APIRoute):
    """Checks a request before FastAPI reads it, and answers every error as {"error": {zh, en}}."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler with the guard around it."""
        inner = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            try:
                if request.method == "POST":
                    _check_origin(request)
                    request = await _read_body(request)
                return await inner(request)
            except Refused as refused:
                return _answer(refused.status, refused.error)
            except RequestValidationError as error:
                return _answer(422, _invalid(error))
            except UserError as error:
                status = next(status for kind, status in _STATUS if isinstance(error, kind))
                return _answer(status, error)
            except Exception:
                log.exception("%s %s failed", request.method, request.url.path)
                return _answer(500, _BROKEN)

        return guarded


_BROKEN = UserError(
    "Something broke inside; it was logged. Please try again: sending the same answer twice does no harm.",
    "程序内部出错了，已写入日志。请重试：同一个回答重复提交不会重复保存。",
)


def _answer(status: int, error: UserError) -> JSONResponse:
    told = {"zh": error.message.zh, "en": error.message.en}
    return JSONResponse({"error": told}, status_code=status)


def _check_origin(request: Request) -> None:
    """Turn away what another site's page sent with our cookie."""
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if site is not None:
        ours = site in ("same-origin", "none")
    else:
        ours = origin is None or urlsplit(origin).netloc == request.headers.get("host")
    if not ours:
        raise Refused(
            403, "This request came from another site and was refused.", "请求来自其他网站，已拒绝。"
        )
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
        raise Refused(
            415, "Send JSON with content-type application/json.", "请以 application/json 发送 JSON。"
        )


async def _read_body(request: Request) -> Request:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_BODY:
            raise Refused(413, "The request is larger than 64 KB.", "请求超过 64 KB。")

    async def replay() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return Request(request.scope, replay)


def _invalid(error: RequestValidationError) -> UserError:
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"][1:]) or "body"
    return UserError(f"{field} is not valid: {first['msg']}.", f"字段 {field} 不正确，请检查后重试。")
