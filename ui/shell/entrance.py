"""The password in front of everything, where one is set: the login page, the check of every request, leaving.

One password for the researcher, until people have accounts of their own. Pages that ZHUFU_OPEN_PAGES names
are let through with the routes they need, and nothing that a researcher does.
"""

import hashlib
import hmac
import math
import time
from collections import deque
from collections.abc import Callable
from urllib.parse import urlencode, urlsplit

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from markupsafe import Markup
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from backend.core import errors
from ui.components.language import Language, Translator
from ui.components.templates import render
from ui.shell.documents import plain_page
from ui.shell.guard import EVENT_PREFIX, READ_METHODS, refusal_response

RESEARCHER = "researcher"
LOGIN_PATH, LOGOUT_PATH = "/login", "/logout"
# The login page needs its sheet and its script before anybody is signed in, and annotators the documentation.
_ALWAYS_OPEN = ("/assets/", "/help/", "/favicon.ico", LOGIN_PATH, LOGOUT_PATH)
# What an open page asks of the server; campaigns and scoring are not in it.
_OPEN_PAGE_ROUTES = {
    "annotate": (("GET", "/api/annotation/"), ("POST", "/api/annotation/")),
    "write": (
        ("GET", "/api/play/models"),
        ("GET", "/api/play/rounds"),
        ("POST", "/api/play/rounds"),
        ("POST", "/api/play/wake"),
        ("POST", "/api/play/cards/"),
    ),
}
# Starts and stops models, which costs the researcher's machine.
_NEVER_OPEN = ("/api/play/models/",)
# What a Gradio page loads besides; no event is among it, so an open page reaches the server by the routes
# above alone.
_FRAME_PATHS = ("assets/", "static/", "svelte/", "theme.css", "favicon.ico", "manifest.json")
_FRAME_EVENTS = (f"{EVENT_PREFIX}/heartbeat/", f"{EVENT_PREFIX}/startup-events", f"{EVENT_PREFIX}/app_id")
_PASSWORD_NEEDED = errors.Message("This needs the password; sign in first.", "需要先输入密码登录。")
_WRONG_PASSWORD = errors.Message("The password is not right.", "密码不对。")
_OPEN_TITLES = {"annotate": ("标注", "Annotate"), "write": ("写祝福", "Write")}
# Gradio's own login has no limit of tries; by these a script gets 7,200 a day, and a person who mistypes
# waits a minute.
MOST_TRIES, TRY_WINDOW_S = 5, 60.0


class LoginAttempts:
    """Counts wrong passwords by address: after five within a minute that address waits.

    clock: gives seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        # Monotonic by default: a clock that is set back would lock an address out for longer.
        self._clock = clock
        self._failure_times: dict[str, deque[float]] = {}

    def seconds_to_wait(self, address: str) -> float:
        """Seconds until this address may try again, 0 where it may now."""
        # At each look and not by a timer: the table never holds more addresses than failed within a minute.
        self._forget_old()
        failure_times = self._failure_times.get(address)
        if failure_times is None or len(failure_times) < MOST_TRIES:
            return 0.0
        return failure_times[0] + TRY_WINDOW_S - self._clock()

    def record_failure(self, address: str) -> None:
        """Count a wrong password."""
        # As long as the limit: an attacker's tries fill no memory.
        self._failure_times.setdefault(address, deque(maxlen=MOST_TRIES)).append(self._clock())

    def _forget_old(self) -> None:
        oldest_time = self._clock() - TRY_WINDOW_S
        for address, failure_times in list(self._failure_times.items()):
            while failure_times and failure_times[0] <= oldest_time:
                failure_times.popleft()
            if not failure_times:
                del self._failure_times[address]


class ResearcherPassword:
    """The researcher's password and the mark of it that a session carries.

    The mark is no secret that opens anything else, and changes with the password: who is signed in with an
    old one is signed out.
    """

    def __init__(self, password: str, secret: str) -> None:
        self._secret_key = secret.encode()
        self._session_mark = self._digest(password)

    def matches(self, entered: str) -> bool:
        """Whether this is the password, in constant time."""
        # Digests have one length, so neither length nor the first wrong character shows in the time it takes.
        return hmac.compare_digest(self._digest(entered), self._session_mark)

    def is_signed_in(self, session: dict[str, object]) -> bool:
        """Whether the session was opened with the present password."""
        return hmac.compare_digest(str(session.get(RESEARCHER, "")), self._session_mark)

    def sign_in(self, session: dict[str, object]) -> None:
        """Mark the session as the researcher's."""
        session[RESEARCHER] = self._session_mark

    def _digest(self, password: str) -> str:
        # surrogatepass: a form may send half a surrogate pair, which is a wrong password and no error of
        # ours.
        return hmac.new(self._secret_key, password.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


class Admission:
    """Who may do what while there are no accounts: the researcher everything, anybody what is opened."""

    def __init__(self, password: ResearcherPassword, open_pages: frozenset[str], languages: tuple[str, ...]) -> None:
        self.password = password
        self.open_pages = open_pages
        self._languages = languages

    def role_of(self, scope: Scope) -> str | None:
        """“researcher”, “visitor” where this request is open to anybody, None where it must be refused."""
        if self.password.is_signed_in(scope["session"]):
            return RESEARCHER
        return "visitor" if self.is_open(scope) else None

    def is_open(self, scope: Scope) -> bool:
        """Whether nobody needs the password for this request."""
        request_path, http_method = scope["path"], "GET" if scope["method"] == "HEAD" else scope["method"]
        if request_path.startswith(_ALWAYS_OPEN):
            return True
        open_routes = [open_route for page_name in self.open_pages for open_route in _OPEN_PAGE_ROUTES[page_name]]
        if any(
            http_method == route_method and request_path.startswith(path_prefix)
            for route_method, path_prefix in open_routes
        ):
            # Checked after the routes: `/api/play/models` is open, and what lies below it is not.
            return not request_path.startswith(_NEVER_OPEN)
        return http_method == "GET" and bool(self.open_pages) and self._is_page_frame(scope, request_path)

    def _is_page_frame(self, scope: Scope, request_path: str) -> bool:
        language, _, inner_path = request_path.lstrip("/").partition("/")
        if language not in self._languages:
            return False
        # The config of a page lists its blocks, so that of a closed page would show what is behind the
        # password; the query is compared whole, as a second `page` in it might win.
        if inner_path == "config":
            return any(scope["query_string"] == f"page={page_name}".encode() for page_name in self.open_pages)
        return inner_path.rstrip("/") in self.open_pages or inner_path.startswith((*_FRAME_PATHS, *_FRAME_EVENTS))


class PasswordRequired:
    """Lets through whom `admission` lets through. Works inside of a session."""

    def __init__(self, wrapped_app: ASGIApp, admission: Admission) -> None:
        self._wrapped_app = wrapped_app
        self._admission = admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._admission.role_of(scope) is not None:
            return await self._wrapped_app(scope, receive, send)
        if scope["method"] in READ_METHODS and _wants_html_page(scope):
            login_query = urlencode({"next": scope["path"]})
            # A script gets 401 instead: a redirect would hand it the login page as if it were its data.
            return await RedirectResponse(f"{LOGIN_PATH}?{login_query}", 303)(scope, receive, send)
        return await refusal_response(scope, 401, _PASSWORD_NEEDED, sign_in=LOGIN_PATH)(scope, receive, send)


def build_router(admission: Admission, style_url: str, script_url: str) -> APIRouter:
    """The login page and leaving.

    style_url, script_url: the addresses of the sheet and of the script that knows the colour scheme.
    """
    login_routes = APIRouter(include_in_schema=False)
    attempts, password, open_pages = LoginAttempts(), admission.password, admission.open_pages

    @login_routes.get(LOGIN_PATH)
    def show_login(request: Request, next: str = "/") -> HTMLResponse:
        signed_in = password.is_signed_in(request.session)
        return HTMLResponse(
            _login_page(_request_language(request), safe_target(next), open_pages, style_url, script_url, signed_in)
        )

    @login_routes.post(LOGIN_PATH)
    def submit_password(
        request: Request, entered_password: str = Form("", alias="password"), next: str = Form("/")
    ) -> Response:
        address = request.client.host if request.client else ""
        language, target_path = _request_language(request), safe_target(next)
        # Before the password is compared: a right one must not tell itself by another answer while the
        # address waits.
        if seconds_left := attempts.seconds_to_wait(address):
            error_message = _too_many_attempts(math.ceil(seconds_left))
            login_page = _login_page(language, target_path, open_pages, style_url, script_url, error=error_message)
            return HTMLResponse(login_page, 429, {"retry-after": str(math.ceil(seconds_left))})
        if not password.matches(entered_password):
            attempts.record_failure(address)
            return HTMLResponse(
                _login_page(language, target_path, open_pages, style_url, script_url, error=_WRONG_PASSWORD),
                401,
            )
        password.sign_in(request.session)
        # 303: the browser asks by GET, and a reload does not send the password again.
        return RedirectResponse(target_path, 303)

    @login_routes.post(LOGOUT_PATH)
    def sign_out(request: Request) -> Response:
        # The whole session and not the mark alone: uploads of whoever leaves are not the next person's.
        request.session.clear()
        return RedirectResponse(LOGIN_PATH, 303)

    return login_routes


def safe_target(requested: str) -> str:
    """Where to go after signing in: a path of this server, never another site."""
    url_parts = urlsplit(requested)
    # Browsers read `//` and `/\` at the start as another host, and drop control characters that would hide
    # one.
    is_local_path = requested.startswith("/") and not requested.startswith(("//", "/\\")) and requested.isprintable()
    return requested if is_local_path and not url_parts.scheme and not url_parts.netloc else "/"


def _too_many_attempts(seconds: int) -> errors.Message:
    return errors.Message(
        f"Too many wrong passwords; try again in {seconds} seconds.",
        f"密码错误次数太多，请 {seconds} 秒后再试。",
    )


def _request_language(request: Request) -> Language:
    return "en" if request.cookies.get("zhufu_lang") == "en" else "zh"


def _login_page(
    language: Language,
    target_path: str,
    open_pages: frozenset[str],
    style_url: str,
    script_url: str,
    signed_in: bool = False,
    error: errors.Message | None = None,
) -> Markup:
    translate = Translator(language)
    login_body = render(
        "shell/templates/login.html",
        translate=translate,
        signed_in=signed_in,
        error=translate.localize(error) if error else "",
        target_path=target_path,
        login_path=LOGIN_PATH,
        logout_path=LOGOUT_PATH,
        open_pages=[(page_name, translate(*_OPEN_TITLES[page_name])) for page_name in sorted(open_pages)],
    )
    return plain_page(translate, login_body, style_url, script_url, translate("祝福 · 登录", "Zhufu · Sign in"))


def _wants_html_page(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    return headers.get("sec-fetch-mode") == "navigate" or "text/html" in headers.get("accept", "")
