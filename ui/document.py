"""The HTML document around Gradio's pages: its language, our first script, and nothing of Gradio's own cards.

Gradio adds `head` only once its own script runs; by then it has chosen its words by the browser's language.
"""

import re

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CARDS = re.compile(rb'<meta\s+(?:property="og:|name="twitter:)[^>]*>\s*')
LANG = re.compile(rb'<html\s+lang="[^"]*"')


class Document:
    """Rewrites pages on their way out; everything else passes as it is."""

    def __init__(self, app: ASGIApp, lang: str, script: str) -> None:
        self._app = app
        self._lang = f'<html lang="{lang}"'.encode()
        self._head = f'<head><script src="{script}"></script>'.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET":
            return await self._app(scope, receive, send)
        start: Message | None = None
        parts: list[bytes] = []

        async def rewriting(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start" and _is_page(message):
                start = message
            elif start is None:
                await send(message)
            else:
                parts.append(message.get("body", b""))
                if not message.get("more_body"):
                    body = self.rewritten(b"".join(parts))
                    MutableHeaders(raw=start["headers"])["content-length"] = str(len(body))
                    await send(start)
                    await send({"type": "http.response.body", "body": body})

        return await self._app(scope, receive, rewriting)

    def rewritten(self, page: bytes) -> bytes:
        """The page with its language and our script, without cards for other sites."""
        page = CARDS.sub(b"", LANG.sub(self._lang, page, count=1))
        return page.replace(b"<head>", self._head, 1)


def _is_page(start: Message) -> bool:
    headers = MutableHeaders(raw=start["headers"])
    return headers.get("content-type", "").startswith("text/html") and "content-encoding" not in headers
