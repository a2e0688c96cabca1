"""What stands between the network and the application: known hosts, own pages only, offered routes only.

Gradio answers whoever asks, from whatever page, and offers more routes than any page here needs. These
layers refuse first; each looks at headers and path alone, so that votes stay fast.
"""

import html
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend import errors
from ui.polite_route import answer

READING = ("GET", "HEAD")
MAX_JSON = 4 * 1024 * 1024
"""Bytes of one event; the largest that a page sends holds a form with some thousand characters."""
MAX_UPLOAD = 200 * 1024 * 1024
"""Bytes of one file, as the import page says."""
_MULTIPART_FRAME = 64 * 1024
EVENTS = "gradio_api"
_EVENT_ROUTES = {
    "GET": ("heartbeat/", "queue/data", "upload_progress", "file=", "startup-events", "app_id", "info"),
    "POST": ("queue/join", "run/predict", "upload", "cancel", "reset"),
}
"""What Gradio's own script calls on our pages. Not among them: events by name (call, api, run), deep
links, proxies, recordings, streams, monitoring, component functions, and whatever a newer Gradio adds."""
_FRAME_ROUTES = ("assets/", "static/", "svelte/", "theme.css", "config", "favicon.ico", "manifest.json")
_HEADERS = {
    # An annotator's answer must not be clickable through a frame of somebody else's page.
    "content-security-policy": "frame-ancestors 'none'",
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_UNKNOWN_HOST = errors.Message(
    "This server does not answer to this address; open it as localhost, or add the name to "
    "ZHUFU_ALLOWED_HOSTS and start again.",
    "服务器不接受这个地址；请用 localhost 打开，或把这个名称加入 ZHUFU_ALLOWED_HOSTS 后重新启动。",
)
_FOREIGN = errors.Message("Requests from other sites are refused.", "拒绝来自其他网站的请求。")
_NOT_OFFERED = errors.Message("There is nothing at this address.", "这个地址没有内容。")
_TOO_LARGE = errors.Message(
    "The request is too large; a file may have up to 200 MB.", "请求太大；文件最大 200 MB。"
)


class SecurityHeaders:
    """Adds to every answer what keeps other sites from framing or embedding it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, with_headers if scope["type"] == "http" else send)


class KnownHosts:
    """Refuses requests addressed to a name that is not ours, which is how DNS rebinding gets in.

    `hosts` are names without port, `*.example.org` for all below it, `*` for any. The check is
    Starlette's; this says in a sentence what to do.
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str]) -> None:
        self._app = app
        self._check = TrustedHostMiddleware(_known, list(hosts), www_redirect=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        known = False

        async def noted(message: Message) -> None:
            nonlocal known
            known = known or message.get("status") == _KNOWN

        if scope["type"] == "http":
            await self._check(scope, receive, noted)
        if known or scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await refusal(scope, 421, _UNKNOWN_HOST)(scope, receive, send)
        # Nothing here speaks WebSocket: such a connection is closed by the server when nobody accepts it.


_KNOWN = 204


async def _known(scope: Scope, receive: Receive, send: Send) -> None:
    await Response(status_code=_KNOWN)(scope, receive, send)


class OwnPagesOnly:
    """Refuses what a page of another site sends, and what is too large or not offered at all."""

    def __init__(self, app: ASGIApp, prefixes: Sequence[str], pages: Sequence[str]) -> None:
        self._app = app
        self._prefixes = tuple(f"/{prefix}/" for prefix in prefixes)
        self._pages = frozenset(pages)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused = self._refused(scope) if scope["type"] == "http" else None
        await (refused or self._app)(scope, receive, send)

    def _refused(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if is_foreign(scope["method"], headers):
            return refusal(scope, 403, _FOREIGN)
        if not self._offered(scope):
            return refusal(scope, 404, _NOT_OFFERED)
        if scope["method"] not in READING and not _fits(scope, headers):
            return refusal(scope, 413, _TOO_LARGE)
        return None

    def _offered(self, scope: Scope) -> bool:
        path, method = scope["path"], scope["method"]
        prefix = next((one for one in self._prefixes if path.startswith(one)), None)
        if prefix is None:
            return True
        below = path.removeprefix(prefix)
        if b"deep_link" in scope["query_string"]:
            return False
        if below.startswith(f"{EVENTS}/"):
            return is_event_route(method, below.removeprefix(f"{EVENTS}/"))
        return method in READING and (below.rstrip("/") in self._pages or below.startswith(_FRAME_ROUTES))


def is_event_route(method: str, below: str) -> bool:
    """Whether a page needs the route `below` Gradio's event prefix."""
    if below.startswith(("file=http:", "file=https:")):
        # Gradio would fetch the address for whoever asks.
        return False
    routes = (
        _EVENT_ROUTES["GET" if method == "HEAD" else method] if method in ("HEAD", *_EVENT_ROUTES) else ()
    )
    return any(below.startswith(one) if one[-1] in "/=" else below.rstrip("/") == one for one in routes)


def is_foreign(method: str, headers: Headers) -> bool:
    """Whether a page of another site sends this request; following a link from one is not that.

    Browsers set Origin and Sec-Fetch-Site and let no page change them; a program sends neither.
    """
    origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
    if origin is not None and urlsplit(origin).netloc != headers.get("host"):
        return True
    if site in ("same-origin", "none"):
        return False
    followed = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    return not (method in READING and followed)


def _fits(scope: Scope, headers: Headers) -> bool:
    length = headers.get("content-length", "")
    if not length:
        return "transfer-encoding" not in headers
    limit = MAX_UPLOAD + _MULTIPART_FRAME if scope["path"].endswith(f"/{EVENTS}/upload") else MAX_JSON
    return length.isdigit() and int(length) <= limit


def refusal(scope: Scope, status: int, message: errors.Message, **more: str) -> Response:
    """The sentence as the asker can show it: a small page for a browser, JSON (with `more`) for a script."""
    headers = Headers(scope=scope)
    if scope["method"] == "HEAD":
        return PlainTextResponse("", status)
    if headers.get("sec-fetch-mode") != "navigate" and "text/html" not in headers.get("accept", ""):
        return answer(status, message, **more)
    words = f'<p>{html.escape(message.zh)}</p><p lang="en">{html.escape(message.en)}</p>'
    style = "margin:20vh auto;max-width:34em;padding:0 1em;font:17px/1.8 system-ui,sans-serif"
    page = '<!doctype html><html lang="zh-CN"><meta charset="utf-8"><title>祝福 Zhufu</title>'
    return HTMLResponse(f'{page}<body style="{style}">{words}</body></html>', status)
