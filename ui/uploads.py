"""Uploaded files belong to the visitor who sent them: a path from anywhere else is refused.

Gradio takes the path of a file from the browser, so that whoever makes a call by hand names any path.
What was really uploaded is remembered here per visitor, in memory: after a restart a file is dropped again.
"""

import json
import secrets
from collections import OrderedDict
from pathlib import Path

import gradio as gr
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend import errors
from backend.errors import UserError
from ui.guard import EVENTS, READING, refusal

VISITOR = "visitor"
_STATE = "uploaded_paths"
_MOST_VISITORS = 10_000
_MOST_FILES = 1_000
"""The oldest are forgotten: nobody drops a thousand files and then imports the first."""
_NO_VISITOR = errors.Message(
    "Open a page of this application first, then upload the file there.",
    "请先打开本应用的页面，再在页面上传文件。",
)


class UploadRegistry:
    """Gives every visitor of a page an identity and remembers which files that visitor has uploaded.

    Works inside of a session (`SessionMiddleware`): the identity is a random value in its signed cookie.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._paths: OrderedDict[str, OrderedDict[str, None]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        visitor = scope["session"].get(VISITOR)
        if visitor is None and scope["method"] in READING and _may_be_page(scope["path"]):
            scope["session"][VISITOR] = visitor = secrets.token_hex(16)
        scope.setdefault("state", {})[_STATE] = frozenset(self._paths.get(str(visitor), ()))
        if scope["method"] == "POST" and scope["path"].endswith(f"/{EVENTS}/upload"):
            if visitor is None:
                return await refusal(scope, 403, _NO_VISITOR)(scope, receive, send)
            return await self._app(scope, receive, self._recording(str(visitor), send))
        return await self._app(scope, receive, send)

    def _recording(self, visitor: str, send: Send) -> Send:
        parts: list[bytes] = []
        status = 0

        async def recording(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            parts.append(message.get("body", b""))
            # Before the browser learns the path: its next call may come at once.
            if message["type"] == "http.response.body" and not message.get("more_body") and status == 200:
                self._remember(visitor, json.loads(b"".join(parts)))
            await send(message)

        return recording

    def _remember(self, visitor: str, paths: list[str]) -> None:
        known = self._paths.setdefault(visitor, OrderedDict())
        self._paths.move_to_end(visitor)
        known.update(dict.fromkeys(paths))
        while len(known) > _MOST_FILES:
            known.popitem(last=False)
        while len(self._paths) > _MOST_VISITORS:
            self._paths.popitem(last=False)


def _may_be_page(path: str) -> bool:
    # Not what a page loads besides: its files would each bring another identity.
    return f"/{EVENTS}/" not in path and not path.startswith(("/assets/", "/api/", "/help/"))


def uploaded_file(request: gr.Request, path: str | None) -> Path | None:
    """The file that this visitor has uploaded, None where none was given. Raises UserError for any other."""
    if not path:
        return None
    if request.request is None or str(path) not in request.request.scope["state"][_STATE]:
        raise UserError(
            "This file was not uploaded on this page (or the server was started anew); drop it again.",
            "这个文件不是在本页面上传的（或服务器已重新启动），请重新拖入文件。",
        )
    return Path(str(path))
