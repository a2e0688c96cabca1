"""Uploaded files belong to the visitor who sent them: a path from anywhere else is refused.

Gradio takes the path of a file from the browser, so that whoever makes a call by hand names any path.
What was really uploaded is remembered here per visitor, in memory: after a restart a file is dropped again.
"""

import json
import secrets
from collections import OrderedDict

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.core import errors
from ui.components.routes import UPLOADED_PATHS_KEY
from ui.shell.guard import EVENT_PREFIX, READ_METHODS, refusal_response

VISITOR_KEY = "visitor"
# Sessions cost a script nothing to invent: without a limit it could fill the memory with them.
_MOST_VISITORS = 10_000
# The oldest are forgotten: nobody drops a thousand files and then imports the first.
_MOST_FILES = 1_000
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
        self._paths_by_visitor: OrderedDict[str, OrderedDict[str, None]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        visitor = scope["session"].get(VISITOR_KEY)
        if visitor is None and scope["method"] in READ_METHODS and _may_be_page(scope["path"]):
            scope["session"][VISITOR_KEY] = visitor = secrets.token_hex(16)
        # Frozen: what a handler asks later stays what was uploaded before this request.
        scope.setdefault("state", {})[UPLOADED_PATHS_KEY] = frozenset(self._paths_by_visitor.get(str(visitor), ()))
        if scope["method"] == "POST" and scope["path"].endswith(f"/{EVENT_PREFIX}/upload"):
            # A page sets the cookie before its script can upload; whoever comes without one has opened none.
            if visitor is None:
                return await refusal_response(scope, 403, _NO_VISITOR)(scope, receive, send)
            return await self._app(scope, receive, self._recording_send(str(visitor), send))
        return await self._app(scope, receive, send)

    def _recording_send(self, visitor: str, send: Send) -> Send:
        body_parts: list[bytes] = []
        status = 0

        async def record_response(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            body_parts.append(message.get("body", b""))
            # Before the browser learns the path: its next call may come at once.
            if message["type"] == "http.response.body" and not message.get("more_body") and status == 200:
                self._remember_paths(visitor, json.loads(b"".join(body_parts)))
            await send(message)

        return record_response

    def _remember_paths(self, visitor: str, uploaded_paths: list[str]) -> None:
        visitor_paths = self._paths_by_visitor.setdefault(visitor, OrderedDict())
        # The visitor who uploads is the last to be forgotten.
        self._paths_by_visitor.move_to_end(visitor)
        visitor_paths.update(dict.fromkeys(uploaded_paths))
        while len(visitor_paths) > _MOST_FILES:
            visitor_paths.popitem(last=False)
        while len(self._paths_by_visitor) > _MOST_VISITORS:
            self._paths_by_visitor.popitem(last=False)


def _may_be_page(url_path: str) -> bool:
    # Not what a page loads besides: its files would each bring another identity.
    return f"/{EVENT_PREFIX}/" not in url_path and not url_path.startswith(("/assets/", "/api/", "/help/"))
