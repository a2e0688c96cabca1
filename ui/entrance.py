"""The password in front of everything, where one is set: the login page, the check of every request, leaving.

One password for the researcher, until people have accounts of their own. Pages that ZHUFU_OPEN_PAGES names
are let through with the routes they need, and nothing that a researcher does.
"""

import hashlib
import hmac
import html
import math
import time
from collections import deque
from collections.abc import Callable
from urllib.parse import urlencode, urlsplit

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from backend import errors
from ui.guard import EVENTS, READING, refusal
from ui.manual import frame
from ui.say import Lang, Say

RESEARCHER = "researcher"
LOGIN, LOGOUT = "/login", "/logout"
_ALWAYS_OPEN = ("/assets/", "/help/", "/favicon.ico", LOGIN, LOGOUT)
_ROUTES = {
    "annotate": (("GET", "/api/annotation/"), ("POST", "/api/annotation/")),
    "write": (
        ("GET", "/api/play/models"),
        ("GET", "/api/play/rounds"),
        ("POST", "/api/play/rounds"),
        ("POST", "/api/play/cards/"),
    ),
}
"""What an open page asks of the server; campaigns and scoring are not in it."""
_NEVER_OPEN = ("/api/play/models/",)
"""Starts and stops models, which costs the researcher's machine."""
_FRAME = ("assets/", "static/", "svelte/", "theme.css", "favicon.ico", "manifest.json")
_FRAME_EVENTS = (f"{EVENTS}/heartbeat/", f"{EVENTS}/startup-events", f"{EVENTS}/app_id")
_CLOSED = errors.Message("This needs the password; sign in first.", "需要先输入密码登录。")
_WRONG = errors.Message("The password is not right.", "密码不对。")
_OPEN_TITLES = {"annotate": ("标注", "Annotate"), "write": ("写祝福", "Write")}
TRIES, WINDOW_S = 5, 60.0


class Attempts:
    """Counts wrong passwords by address: after five within a minute that address waits.

    `clock` gives seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._wrong: dict[str, deque[float]] = {}

    def wait_s(self, address: str) -> float:
        """Seconds until this address may try again, 0 where it may now."""
        self._forget()
        wrong = self._wrong.get(address)
        if wrong is None or len(wrong) < TRIES:
            return 0.0
        return wrong[0] + WINDOW_S - self._clock()

    def failed(self, address: str) -> None:
        """Count a wrong password."""
        self._wrong.setdefault(address, deque(maxlen=TRIES)).append(self._clock())

    def _forget(self) -> None:
        limit = self._clock() - WINDOW_S
        for address, wrong in list(self._wrong.items()):
            while wrong and wrong[0] <= limit:
                wrong.popleft()
            if not wrong:
                del self._wrong[address]


class Password:
    """The researcher's password and the mark of it that a session carries.

    The mark is no secret that opens anything else, and changes with the password: who is signed in with an
    old one is signed out.
    """

    def __init__(self, password: str, secret: str) -> None:
        self._secret = secret.encode()
        self._mark = self._of(password)

    def fits(self, given: str) -> bool:
        """Whether this is the password, in constant time."""
        return hmac.compare_digest(self._of(given), self._mark)

    def is_signed_in(self, session: dict[str, object]) -> bool:
        """Whether the session was opened with the present password."""
        return hmac.compare_digest(str(session.get(RESEARCHER, "")), self._mark)

    def sign_in(self, session: dict[str, object]) -> None:
        """Mark the session as the researcher's."""
        session[RESEARCHER] = self._mark

    def _of(self, password: str) -> str:
        return hmac.new(self._secret, password.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


class Admission:
    """Who may do what while there are no accounts: the researcher everything, anybody what is opened."""

    def __init__(self, password: Password, open_pages: frozenset[str], langs: tuple[str, ...]) -> None:
        self.password = password
        self.open_pages = open_pages
        self._langs = langs

    def who(self, scope: Scope) -> str | None:
        """“researcher”, “visitor” where this request is open to anybody, None where it must be refused."""
        if self.password.is_signed_in(scope["session"]):
            return RESEARCHER
        return "visitor" if self.is_open(scope) else None

    def is_open(self, scope: Scope) -> bool:
        """Whether nobody needs the password for this request."""
        path, method = scope["path"], "GET" if scope["method"] == "HEAD" else scope["method"]
        if path.startswith(_ALWAYS_OPEN):
            return True
        routes = [route for page in self.open_pages for route in _ROUTES[page]]
        if any(method == way and path.startswith(start) for way, start in routes):
            return not path.startswith(_NEVER_OPEN)
        return method == "GET" and bool(self.open_pages) and self._is_frame(scope, path)

    def _is_frame(self, scope: Scope, path: str) -> bool:
        lang, _, below = path.lstrip("/").partition("/")
        if lang not in self._langs:
            return False
        if below == "config":
            return any(scope["query_string"] == f"page={page}".encode() for page in self.open_pages)
        return below.rstrip("/") in self.open_pages or below.startswith((*_FRAME, *_FRAME_EVENTS))


class PasswordRequired:
    """Lets through whom `admission` lets through. Works inside of a session."""

    def __init__(self, app: ASGIApp, admission: Admission) -> None:
        self._app = app
        self._admission = admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._admission.who(scope) is not None:
            return await self._app(scope, receive, send)
        if scope["method"] in READING and _wants_page(scope):
            query = urlencode({"next": scope["path"]})
            return await RedirectResponse(f"{LOGIN}?{query}", 303)(scope, receive, send)
        return await refusal(scope, 401, _CLOSED, sign_in=LOGIN)(scope, receive, send)


def router(admission: Admission, style: str, script: str) -> APIRouter:
    """The login page and leaving. `style` and `script` are the addresses of sheet and colour scheme."""
    routes = APIRouter(include_in_schema=False)
    attempts, password, open_pages = Attempts(), admission.password, admission.open_pages

    @routes.get(LOGIN)
    def show(request: Request, next: str = "/") -> HTMLResponse:
        signed_in = password.is_signed_in(request.session)
        return HTMLResponse(_page(_lang(request), safe_target(next), open_pages, style, script, signed_in))

    @routes.post(LOGIN)
    def enter(request: Request, given: str = Form("", alias="password"), next: str = Form("/")) -> Response:
        address = request.client.host if request.client else ""
        lang, target = _lang(request), safe_target(next)
        if wait := attempts.wait_s(address):
            told = _slow_down(math.ceil(wait))
            page = _page(lang, target, open_pages, style, script, error=told)
            return HTMLResponse(page, 429, {"retry-after": str(math.ceil(wait))})
        if not password.fits(given):
            attempts.failed(address)
            return HTMLResponse(_page(lang, target, open_pages, style, script, error=_WRONG), 401)
        password.sign_in(request.session)
        return RedirectResponse(target, 303)

    @routes.post(LOGOUT)
    def leave(request: Request) -> Response:
        request.session.clear()
        return RedirectResponse(LOGIN, 303)

    return routes


def safe_target(given: str) -> str:
    """Where to go after signing in: a path of this server, never another site."""
    parts = urlsplit(given)
    inside = given.startswith("/") and not given.startswith(("//", "/\\")) and given.isprintable()
    return given if inside and not parts.scheme and not parts.netloc else "/"


def _slow_down(seconds: int) -> errors.Message:
    return errors.Message(
        f"Too many wrong passwords; try again in {seconds} seconds.",
        f"密码错误次数太多，请 {seconds} 秒后再试。",
    )


def _lang(request: Request) -> Lang:
    return "en" if request.cookies.get("zhufu_lang") == "en" else "zh"


def _page(
    lang: Lang,
    target: str,
    open_pages: frozenset[str],
    style: str,
    script: str,
    signed_in: bool = False,
    error: errors.Message | None = None,
) -> str:
    say = Say(lang)
    body = _leaving(say) if signed_in else _entering(say, target, error)
    links = "".join(
        f'<li><a href="/{lang}/{name}">{say(*_OPEN_TITLES[name])}</a></li>' for name in sorted(open_pages)
    )
    if links:
        body += f"<p>{say('不用密码就能打开：', 'Open without a password:')}</p><ul>{links}</ul>"
    return frame(say, "", body, style, script, say("祝福 · 登录", "Zhufu · Sign in"))


def _entering(say: Say, target: str, error: errors.Message | None) -> str:
    told = f'<p class="error" role="alert">{html.escape(say.of(error))}</p>' if error else ""
    return (
        f"<h1>{say('登录', 'Sign in')}</h1>{told}"
        f'<form class="sign-in" method="post" action="{LOGIN}">'
        f'<input type="hidden" name="next" value="{html.escape(target, quote=True)}">'
        f"<label>{say('密码', 'Password')}"
        '<input type="password" name="password" autocomplete="current-password" required autofocus></label>'
        f"<button>{say('登录', 'Sign in')}</button></form>"
    )


def _leaving(say: Say) -> str:
    return (
        f"<h1>{say('已登录', 'You are signed in')}</h1>"
        f'<form class="sign-in" method="post" action="{LOGOUT}">'
        f"<button>{say('退出登录', 'Sign out')}</button></form>"
    )


def _wants_page(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    return headers.get("sec-fetch-mode") == "navigate" or "text/html" in headers.get("accept", "")
