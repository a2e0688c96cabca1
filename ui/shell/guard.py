"""What stands between the network and the application: known hosts, own pages only, offered routes only.

Gradio answers whoever asks, from whatever page, and offers more routes than any page here needs. These
layers refuse first; each looks at headers and path alone, so that votes stay fast.
"""

from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.core import errors
from ui.components.routes import error_response
from ui.components.templates import render

READ_METHODS = ("GET", "HEAD")
# Bytes of one event; the largest that a page sends holds a form with some thousand characters.
MAX_JSON_BYTES = 4 * 1024 * 1024
# Bytes of one file, as the import page says.
MAX_UPLOAD_BYTES = 200 * 1024 * 1024
# Bytes around the file in the body of an upload: boundary, headers, field name.
_MULTIPART_OVERHEAD = 64 * 1024
EVENT_PREFIX = "gradio_api"
# What Gradio's own script calls on our pages. Not among them: events by name (call, api, run), deep links,
# proxies, recordings, streams, monitoring, component functions, and whatever a newer Gradio adds.
_EVENT_ROUTES = {
    "GET": ("heartbeat/", "queue/data", "upload_progress", "file=", "startup-events", "app_id", "info"),
    "POST": ("queue/join", "run/predict", "upload", "cancel", "reset"),
}
_FRAME_ROUTES = ("assets/", "static/", "svelte/", "theme.css", "config", "favicon.ico", "manifest.json")
_SECURITY_HEADERS = {
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
_FOREIGN_SITE = errors.Message("Requests from other sites are refused.", "拒绝来自其他网站的请求。")
_NOT_OFFERED = errors.Message("There is nothing at this address.", "这个地址没有内容。")
_TOO_LARGE = errors.Message("The request is too large; a file may have up to 200 MB.", "请求太大；文件最大 200 MB。")


class SecurityHeaders:
    """Adds to every answer what keeps other sites from framing or embedding it."""

    def __init__(self, wrapped_app: ASGIApp) -> None:
        self._wrapped_app = wrapped_app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for header_name, header_value in _SECURITY_HEADERS.items():
                    headers.setdefault(header_name, header_value)
            await send(message)

        await self._wrapped_app(scope, receive, send_with_headers if scope["type"] == "http" else send)


class KnownHosts:
    """Refuses requests addressed to a name that is not ours, which is how DNS rebinding gets in.

    hosts: names without port, `*.example.org` for all below it, `*` for any. The check is
    Starlette's; this says in a sentence what to do.
    """

    def __init__(self, wrapped_app: ASGIApp, hosts: Sequence[str]) -> None:
        self._wrapped_app = wrapped_app
        self._host_check = TrustedHostMiddleware(_confirm_host, list(hosts), www_redirect=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_known_host = False

        async def note_status(message: Message) -> None:
            nonlocal is_known_host
            is_known_host = is_known_host or message.get("status") == _KNOWN_STATUS

        if scope["type"] == "http":
            await self._host_check(scope, receive, note_status)
        # Start and stop of the server have no host.
        if is_known_host or scope["type"] == "lifespan":
            await self._wrapped_app(scope, receive, send)
        elif scope["type"] == "http":
            await refusal_response(scope, 421, _UNKNOWN_HOST)(scope, receive, send)
        # Nothing here speaks WebSocket: such a connection is closed by the server when nobody accepts it.


# Starlette's check has no answer but its own; a status that it never gives by itself says that the name
# passed.
_KNOWN_STATUS = 204


async def _confirm_host(scope: Scope, receive: Receive, send: Send) -> None:
    await Response(status_code=_KNOWN_STATUS)(scope, receive, send)


class OwnPagesOnly:
    """Refuses what a page of another site sends, and what is too large or not offered at all."""

    def __init__(self, wrapped_app: ASGIApp, prefixes: Sequence[str], pages: Sequence[str]) -> None:
        self._wrapped_app = wrapped_app
        self._path_prefixes = tuple(f"/{prefix}/" for prefix in prefixes)
        self._page_paths = frozenset(pages)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = self._find_refusal(scope) if scope["type"] == "http" else None
        await (response or self._wrapped_app)(scope, receive, send)

    def _find_refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if is_foreign_request(scope["method"], headers):
            return refusal_response(scope, 403, _FOREIGN_SITE)
        if not self._is_offered(scope):
            return refusal_response(scope, 404, _NOT_OFFERED)
        if scope["method"] not in READ_METHODS and not _fits_limit(scope, headers):
            return refusal_response(scope, 413, _TOO_LARGE)
        return None

    def _is_offered(self, scope: Scope) -> bool:
        request_path, http_method = scope["path"], scope["method"]
        path_prefix = next((candidate for candidate in self._path_prefixes if request_path.startswith(candidate)), None)
        if path_prefix is None:
            return True
        inner_path = request_path.removeprefix(path_prefix)
        # A deep link restores what somebody has entered, for anybody who knows it, and reads a file of the
        # server to do so.
        if b"deep_link" in scope["query_string"]:
            return False
        if inner_path.startswith(f"{EVENT_PREFIX}/"):
            return is_event_route(http_method, inner_path.removeprefix(f"{EVENT_PREFIX}/"))
        return http_method in READ_METHODS and (
            inner_path.rstrip("/") in self._page_paths or inner_path.startswith(_FRAME_ROUTES)
        )


def is_event_route(http_method: str, inner_path: str) -> bool:
    """Whether a page needs the route at `inner_path`, which lies below Gradio's event prefix."""
    if inner_path.startswith(("file=http:", "file=https:")):
        # Gradio would fetch the address for whoever asks.
        return False
    event_routes = (
        _EVENT_ROUTES["GET" if http_method == "HEAD" else http_method]
        if http_method in ("HEAD", *_EVENT_ROUTES)
        else ()
    )
    return any(
        inner_path.startswith(event_route) if event_route[-1] in "/=" else inner_path.rstrip("/") == event_route
        for event_route in event_routes
    )


def is_foreign_request(http_method: str, headers: Headers) -> bool:
    """Whether a page of another site sends this request; following a link from one is not that.

    Browsers set Origin and Sec-Fetch-Site and let no page change them; a program sends neither.
    """
    origin, fetch_site = headers.get("origin"), headers.get("sec-fetch-site", "none")
    # With its port: another program on this machine is another site too. `null` (a frame in a sandbox, a
    # file) has no host and is refused.
    if origin is not None and urlsplit(origin).netloc != headers.get("host"):
        return True
    if fetch_site in ("same-origin", "none"):
        return False
    # A frame navigates as well, and its destination is `iframe`; only a document is a page that a person has
    # opened.
    follows_link = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    return not (http_method in READ_METHODS and follows_link)


def _fits_limit(scope: Scope, headers: Headers) -> bool:
    content_length = headers.get("content-length", "")
    if not content_length:
        # A body in chunks states no length, and would be known to be too large when it is already in memory.
        return "transfer-encoding" not in headers
    size_limit = (
        MAX_UPLOAD_BYTES + _MULTIPART_OVERHEAD if scope["path"].endswith(f"/{EVENT_PREFIX}/upload") else MAX_JSON_BYTES
    )
    return content_length.isdigit() and int(content_length) <= size_limit


def refusal_response(scope: Scope, status_code: int, message: errors.Message, **extra_fields: str) -> Response:
    """The sentence as the asker can show it: a small page for a browser, JSON with `extra_fields` for a script."""
    headers = Headers(scope=scope)
    if scope["method"] == "HEAD":
        return PlainTextResponse("", status_code)
    # Older browsers send no Sec-Fetch headers, and then what they accept tells them from a script.
    if headers.get("sec-fetch-mode") != "navigate" and "text/html" not in headers.get("accept", ""):
        return error_response(status_code, message, **extra_fields)
    return HTMLResponse(render("shell/templates/refusal.html", message=message), status_code)
