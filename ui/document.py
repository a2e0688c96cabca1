"""The HTML document around Gradio's pages: its language, our first script, and nothing of Gradio's own cards.

Gradio adds `head` only once its own script runs; by then it has chosen its words by the browser's language.
"""

import re

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SOCIAL_CARDS = re.compile(rb'<meta\s+(?:property="og:|name="twitter:)[^>]*>\s*')
LANG_ATTRIBUTE = re.compile(rb'<html\s+lang="[^"]*"')


class DocumentMiddleware:
    """Rewrites pages on their way out; everything else passes as it is."""

    def __init__(self, wrapped_app: ASGIApp, lang: str, script: str) -> None:
        self._wrapped_app = wrapped_app
        self._html_tag = f'<html lang="{lang}"'.encode()
        self._head_tag = f'<head><script src="{script}"></script>'.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET":
            return await self._wrapped_app(scope, receive, send)
        start_message: Message | None = None
        body_parts: list[bytes] = []

        async def rewrite_message(message: Message) -> None:
            nonlocal start_message
            if message["type"] == "http.response.start" and _is_html_page(message):
                start_message = message
            elif start_message is None:
                await send(message)
            else:
                body_parts.append(message.get("body", b""))
                if not message.get("more_body"):
                    page_body = self.rewrite_page(b"".join(body_parts))
                    MutableHeaders(raw=start_message["headers"])["content-length"] = str(len(page_body))
                    await send(start_message)
                    await send({"type": "http.response.body", "body": page_body})

        return await self._wrapped_app(scope, receive, rewrite_message)

    def rewrite_page(self, page_html: bytes) -> bytes:
        """The page with its language and our script, without cards for other sites."""
        page_html = SOCIAL_CARDS.sub(b"", LANG_ATTRIBUTE.sub(self._html_tag, page_html, count=1))
        return page_html.replace(b"<head>", self._head_tag, 1)


def _is_html_page(start_message: Message) -> bool:
    headers = MutableHeaders(raw=start_message["headers"])
    return headers.get("content-type", "").startswith("text/html") and "content-encoding" not in headers
