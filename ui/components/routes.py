"""What the routes beside Gradio share: errors as sentences, who a browser is, which files it has sent."""

import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import gradio as gr
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi.routing import APIRoute
from pydantic import Field

from backend.core.errors import Busy, Conflict, Message, NotFound, Unavailable, UserError
from backend.core.files import translate_disk_fault
from backend.core.signing import Signer

log = logging.getLogger(__name__)

# An answer of the annotate page takes some hundred bytes, the longest request of the write page 60 KB in UTF-8.
MAX_BODY_BYTES = 64 * 1024
# A rater comes back after weeks, and under a new name their labels would count as another person's.
COOKIE_SECONDS = 365 * 24 * 3600
# The number of a row, as any database can hold it.
RowId = Annotated[int, Field(ge=1, le=2**31 - 1)]
# What a page calls one submission, so that a second press of the same button changes nothing.
RequestId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
_TOO_LARGE = Message("The request is too large (at most 64 KB).", "请求太大，最多 64 KB。")
_INTERNAL_ERROR = Message(
    "Something broke inside and was logged; nothing was saved. Please try again.",
    "程序内部出错，已写入日志，没有保存；请重试。",
)


class NotSignedIn(UserError):
    """Nobody is signed in here."""


class ErrorMessageRoute(APIRoute):
    """Refuses what is too large and words every error for people; `guard` has refused other sites before."""

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
        """The handler with all of that around it."""
        route_handler = super().get_route_handler()

        async def handle_request(request: Request) -> Response:
            # Before FastAPI reads and parses the body.
            if refusal := _refuse_large_body(request):
                return refusal
            try:
                return await route_handler(request)
            # Before UserError, of which it is one: a busy database is nothing the person has done wrong, and
            # the page sends the same answer again.
            except Unavailable as error:
                log.warning("%s: %s", request.url.path, error)
                return _unavailable_response(error)
            except UserError as error:
                return error_response(_status_code(error), error.message)
            except RequestValidationError as error:
                return error_response(422, _field_problem(error))
            # A full disk is not a defect: “not saved” with the reason, and the page keeps the answer.
            except OSError as error:
                log.exception("%s failed", request.url.path)
                disk_problem = translate_disk_fault(error)
                return _unavailable_response(disk_problem) if disk_problem else error_response(500, _INTERNAL_ERROR)
            except Exception:
                log.exception("%s failed", request.url.path)
                return error_response(500, _INTERNAL_ERROR)

        return handle_request


def error_response(status_code: int, message: Message, **more: str) -> JSONResponse:
    """An error as the pages expect it: a sentence in both languages, and the fields of `more` beside it."""
    return JSONResponse({"error": {"zh": message.zh, "en": message.en}, **more}, status_code)


def _unavailable_response(error: Unavailable) -> JSONResponse:
    """503; with Retry-After where coming again soon may help."""
    response = error_response(503, error.message)
    # Not for a full disk: coming again soon would only fail again.
    if isinstance(error, Busy):
        response.headers["Retry-After"] = str(error.retry_after_s)
    return response


def _status_code(error: UserError) -> int:
    if isinstance(error, NotSignedIn):
        return 401
    if isinstance(error, NotFound):
        return 404
    return 409 if isinstance(error, Conflict) else 400


def _refuse_large_body(request: Request) -> Response | None:
    if request.method == "GET":
        return None
    # A body in chunks states no length: how large it becomes would be known too late.
    content_length = request.headers.get("content-length", "")
    if not content_length.isdigit() or int(content_length) > MAX_BODY_BYTES:
        return error_response(413, _TOO_LARGE)
    return None


def _field_problem(error: RequestValidationError) -> Message:
    # The first alone: our own pages send no bad fields, so a list would be read by nobody.
    first_problem: dict[str, Any] = error.errors()[0]
    field_name = (
        ".".join(str(location_part) for location_part in first_problem["loc"] if location_part != "body") or "body"
    )
    return Message(
        f"{field_name} is not usable: {first_problem['msg']}.",
        f"字段 {field_name} 不可用：{first_problem['msg']}。",
    )


def disk_error_response(request: Request, error: Exception) -> Response:
    """What Gradio's own routes answer, for an upload above all, where the disk takes no more."""
    disk_problem = translate_disk_fault(error) if isinstance(error, OSError) else None
    if disk_problem is None:
        raise error
    log.warning("%s: %s", request.url.path, disk_problem)
    return PlainTextResponse(f"{disk_problem.text('zh')} {disk_problem.text('en')}", 507)


class SignedCookie:
    """A value that a browser keeps for a year and cannot change; scripts of a page cannot read it.

    cookie_name: what the browser calls it.
    signer: signs the value and reads only what it has signed itself.
    """

    def __init__(self, cookie_name: str, signer: Signer) -> None:
        self._cookie_name = cookie_name
        self._signer = signer

    def read(self, request: Request) -> Any:
        """The value that was signed, None where there is none or it was tampered with."""
        return self._signer.read(request.cookies.get(self._cookie_name, ""))

    def write(self, request: Request, response: Response, cookie_value: Any) -> None:
        """Let the browser keep the value; over HTTPS it comes back over HTTPS alone."""
        response.set_cookie(
            self._cookie_name,
            self._signer.sign(cookie_value),
            max_age=COOKIE_SECONDS,
            httponly=True,
            # Lax and not strict: whoever follows a link from a chat into a campaign must still be known.
            samesite="lax",
            # Not always: over plain HTTP, as on a laptop, the browser would drop a secure cookie.
            secure=request.url.scheme == "https",
        )

    def delete(self, response: Response) -> None:
        """Let the browser forget the value."""
        # With the attributes it was written with: a browser may keep a cookie that is deleted with others.
        response.delete_cookie(self._cookie_name, httponly=True, samesite="lax")


# Where the middleware of the shell notes, in the state of a request, which files its visitor has uploaded.
UPLOADED_PATHS_KEY = "uploaded_paths"


def uploaded_file(request: gr.Request, file_path: str | None) -> Path | None:
    """The file that this visitor has uploaded, None where none was given. Raises UserError for any other."""
    if not file_path:
        return None
    # Gradio takes the path from the browser: whoever makes a call by hand names any file of the server.
    if request.request is None or str(file_path) not in request.request.scope["state"][UPLOADED_PATHS_KEY]:
        raise UserError(
            "This file was not uploaded on this page (or the server was started anew); drop it again.",
            "这个文件不是在本页面上传的（或服务器已重新启动），请重新拖入文件。",
        )
    return Path(str(file_path))
