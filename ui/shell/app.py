"""The application around the pages: languages by URL, navigation, theme, assets, error answers.

Pages in the other language are built after the server is up, so that they cost the start nothing."""

import asyncio
import hashlib
import os
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles
from gradio.components.navbar import Navbar
from gradio.routes import App
from markupsafe import Markup
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from backend.core.network import answered_hosts, parse_open_pages
from backend.core.settings import Settings
from backend.core.signing import load_secret
from backend.services import Services
from ui.agreement import page as agreement_page
from ui.annotation import campaigns
from ui.annotation import routes as annotation_routes
from ui.components.language import Language, Translator
from ui.components.routes import disk_error_response
from ui.components.templates import render
from ui.components.widgets import html_block
from ui.corpus import page as corpus_page
from ui.home import page as home_page
from ui.judges import page as judges_page
from ui.playground import page as playground_page
from ui.playground import routes as playground_routes
from ui.preferences import page as preferences_page
from ui.principles import page as principles_page
from ui.shell import documents, entrance
from ui.shell.documents import DocumentMiddleware
from ui.shell.entrance import LOGIN_PATH, Admission, PasswordRequired, ResearcherPassword
from ui.shell.guard import KnownHosts, OwnPagesOnly, SecurityHeaders
from ui.shell.guide import guide_button, guide_html
from ui.shell.uploads import UploadRegistry
from ui.training import page as training_page

# Seconds that the first visitors have the processor for themselves.
HEAD_START_S = 2.0


class DeferredApp:
    """An application below `url_prefix`, built in a thread soon after the start or at its first request."""

    def __init__(self, url_prefix: str, build_app: Callable[[], FastAPI]) -> None:
        self.url_prefix = url_prefix
        self._build_app = build_app
        # The timer after the start and the first visitor may both come: without the lock the pages would be
        # built twice.
        self._build_lock = asyncio.Lock()
        # Starlette runs the lifespan of the outermost application alone; the stack ends that of a late one
        # with the server.
        self._exit_stack = AsyncExitStack()
        self._built_app: FastAPI | None = None

    def attach_to(self, outer_app: FastAPI) -> None:
        """Answer what lies below the prefix, live as long as `outer_app`."""
        outer_lifespan = outer_app.router.lifespan_context

        @asynccontextmanager
        async def lifespan(running_app: FastAPI) -> AsyncIterator[Any]:
            async with outer_lifespan(running_app) as lifespan_state, self._exit_stack:
                build_task = asyncio.create_task(self._build_soon())
                yield lifespan_state
                # A server that stops within the head start must not wait until the other language is built.
                build_task.cancel()

        outer_app.router.lifespan_context = lifespan
        # Before the guards are added and so inside of them: what is added last looks first.
        outer_app.add_middleware(_DeferredGate, later=self)

    def owns_request(self, scope: Scope) -> bool:
        """Whether this request is for the application below the prefix."""
        request_path = scope.get("path", "")
        is_below_prefix = request_path == self.url_prefix or request_path.startswith(f"{self.url_prefix}/")
        return bool(scope["type"] != "lifespan" and is_below_prefix)

    async def ensure_built(self) -> FastAPI:
        """The application, built and started by whoever comes first."""
        async with self._build_lock:
            if self._built_app is None:
                # In a thread: building is tenths of a second of Python (0.26 s with five pages), for which
                # the event loop would answer nobody.
                built_app = await asyncio.to_thread(self._build_app)
                await self._exit_stack.enter_async_context(built_app.router.lifespan_context(built_app))
                self._built_app = built_app
            return self._built_app

    async def _build_soon(self) -> None:
        await asyncio.sleep(HEAD_START_S)
        await self.ensure_built()


class _DeferredGate:
    def __init__(self, wrapped_app: ASGIApp, later: DeferredApp) -> None:
        self._wrapped_app = wrapped_app
        self._deferred_app = later

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        target_app = (
            await self._deferred_app.ensure_built() if self._deferred_app.owns_request(scope) else self._wrapped_app
        )
        await target_app(scope, receive, send)


ASSETS_FOLDER = Path(__file__).parent / "assets"
LANGUAGES: tuple[Language, ...] = ("zh", "en")
LANGUAGE_COOKIE = "zhufu_lang"
SESSION_COOKIE = "zhufu_session"
# How often uploads and downloads are looked through, and how old the removed ones are, in seconds.
# A day, as exports are kept: whoever has a page open overnight still gets the file it offers.
KEEP_FILES_SECONDS = (3600, 24 * 3600)


@dataclass(frozen=True)
class SitePage:
    """One page: its path below the language, its name in both, and what builds it."""

    url_path: str
    zh: str
    en: str
    build_page: Callable[[Services, Translator], None]
    # Whether a new group of the navigation begins here.
    starts_group: bool = False


SITE_PAGES = (
    SitePage("", "首页", "Home", home_page.build_page),
    SitePage("write", "写祝福", "Write", playground_page.build_page),
    SitePage("annotate", "标注", "Annotate", campaigns.build_annotate_page, starts_group=True),
    SitePage("campaigns", "任务", "Campaigns", campaigns.build_page),
    SitePage("corpus", "语料", "Corpus", corpus_page.build_page),
    SitePage("judges", "裁判", "Judges", judges_page.build_page, starts_group=True),
    SitePage("principles", "原则", "Principles", principles_page.build_page),
    SitePage("agreement", "一致性", "Agreement", agreement_page.build_page),
    SitePage("pairs", "偏好对", "Pairs", preferences_page.build_page, starts_group=True),
    SitePage("training", "训练", "Training", training_page.build_page),
)


def build_app(services: Services) -> FastAPI:
    """The whole web application around the services."""
    app = FastAPI(title="Zhufu", docs_url=None, redoc_url=None, openapi_url=None)
    # Gradio keeps uploads and downloads there; by default in a folder of /tmp that every user can read.
    os.environ["GRADIO_TEMP_DIR"] = str(services.settings.home.resolve() / "uploads")
    app.state.pages = []
    admission = _read_admission(services.settings)
    # Votes and greetings go by plain routes: a Gradio event takes ten times as long and more through its
    # queue, and quick presses lose or repeat votes (docs/decisions/2026-11-23-votes-by-route.md).
    app.include_router(annotation_routes.build_router(services))
    app.include_router(playground_routes.build_router(services))
    app.include_router(documents.build_router(_asset_url("manual.css"), _asset_url("shell.js")))
    app.mount("/assets", StaticFiles(directory=ASSETS_FOLDER), name="assets")
    app.add_api_route("/", _redirect_front, include_in_schema=False)
    app.add_api_route("/favicon.ico", _favicon_response, include_in_schema=False)
    # Gradio says at every start that several pages rule out server-side rendering, which is off anyway.
    warnings.filterwarnings("ignore", message="SSR mode is not supported", category=UserWarning)
    mount_language = partial(_mount_gradio, services=services, admission=admission, mounted=app.state.pages)
    first_language, *other_languages = LANGUAGES
    for language in other_languages:
        # Each language has pages of its own: Gradio's translation follows the browser and cannot be switched
        # by the reader (docs/decisions/2026-11-23-two-language-mounts.md).
        DeferredApp(f"/{language}", partial(mount_language, FastAPI(), language)).attach_to(app)
    mount_language(app, first_language)
    return _add_guards(app, services.settings, admission)


def _read_admission(settings: Settings) -> Admission | None:
    """Who may enter; None where everybody on this machine may."""
    if not (password := settings.password.get_secret_value()):
        return None
    return Admission(ResearcherPassword(password, load_secret(settings.home)), parse_open_pages(settings), LANGUAGES)


def _add_guards(app: FastAPI, settings: Settings, admission: Admission | None) -> FastAPI:
    """The application behind everything that a request must pass; what is added last looks first."""
    if admission is not None:
        app.include_router(entrance.build_router(admission, _asset_url("manual.css"), _asset_url("shell.js")))
        app.add_middleware(PasswordRequired, admission=admission)
    # Inside of the session, whose cookie says whose upload it is.
    app.add_middleware(UploadRegistry)
    # With a word of its own, so that a value signed for another cookie is no session.
    session_secret = f"session {load_secret(settings.home)}"
    app.add_middleware(SessionMiddleware, secret_key=session_secret, session_cookie=SESSION_COOKIE, same_site="lax")
    app.add_middleware(OwnPagesOnly, prefixes=LANGUAGES, pages=[site_page.url_path for site_page in SITE_PAGES])
    # Before the check of Origin, which compares with Host: a rebound name would agree with itself.
    app.add_middleware(KnownHosts, hosts=answered_hosts(settings))
    # Outermost, so that refusals by the layers below carry these headers too.
    app.add_middleware(SecurityHeaders)
    return app


def stop_heartbeats(app: FastAPI) -> None:
    """End the heartbeats of pages that are open in browsers; called in the event loop, before a stop."""
    for gradio_app in app.state.pages:
        # Each open page holds one endless connection, and uvicorn waits for connections before it stops.
        gradio_app.stop_event.set()


def _mount_gradio(
    app: FastAPI, language: Language, services: Services, admission: Admission | None, mounted: list[App]
) -> FastAPI:
    gradio_blocks = _build_blocks(services, Translator(language))
    # Gradio checks paths only once this is set, which `launch()` does and mounting does not.
    gradio_blocks.has_launched = True
    gr.mount_gradio_app(
        app,
        gradio_blocks,
        path=f"/{language}",
        theme=_build_theme(),
        head=_head_html(),
        footer_links=[],
        # It would keep what people enter in the browser, where the next rater could read it.
        run_history=False,
        # It needs a Node server beside ours.
        ssr_mode=False,
        max_file_size="200mb",
        allowed_paths=[str(services.settings.home.resolve() / "exports")],
        auth_dependency=(lambda request: admission.role_of(request.scope)) if admission else None,
    )
    language_mounts = (
        mounted_route
        for mounted_route in app.routes
        if isinstance(mounted_route, Mount) and mounted_route.path == f"/{language}"
    )
    gradio_app = next(mount.app for mount in language_mounts if isinstance(mount.app, App))
    # Appended: inside of Gradio's compression.
    document_middleware = Middleware(
        DocumentMiddleware, lang="zh-CN" if language == "zh" else language, script=_asset_url("shell.js")
    )
    gradio_app.user_middleware.append(document_middleware)
    gradio_app.add_exception_handler(OSError, disk_error_response)
    mounted.append(gradio_app)
    return app


def _build_blocks(services: Services, translate: Translator) -> gr.Blocks:
    site_title = translate("祝福 · 写好祝福，也信得过评判", "Zhufu · greetings, and judges you can check")
    first_page, *other_pages = SITE_PAGES
    gradio_blocks = gr.Blocks(
        title=site_title, analytics_enabled=False, fill_width=True, delete_cache=KEEP_FILES_SECONDS
    )
    with gradio_blocks:
        _build_page(services, translate, first_page)
    for site_page in other_pages:
        with gradio_blocks.route(translate(site_page.zh, site_page.en), site_page.url_path, show_in_navbar=False):
            _build_page(services, translate, site_page)
    for event_function in gradio_blocks.fns.values():
        # Our own script calls events by number; by name nobody here does.
        # That hides an event from the documentation and keeps nobody out: handlers check what they are given
        # themselves.
        event_function.api_visibility = "private"
    return gradio_blocks


def _build_page(services: Services, translate: Translator, site_page: SitePage) -> None:
    # Gradio's own bar cannot group ten entries nor fit them into 390 pixels; ours stands in the header.
    Navbar(visible=False)
    has_password = bool(services.settings.password.get_secret_value())
    html_block(_header_html(translate, site_page, has_password), elem_id="zf-header")
    site_page.build_page(services, translate)


def _header_html(translate: Translator, page: SitePage, has_password: bool) -> Markup:
    return render(
        "shell/templates/header.html",
        translate=translate,
        page=page,
        pages=SITE_PAGES,
        has_password=has_password,
        login_path=LOGIN_PATH,
        guide_button=guide_button(translate, page.url_path),
        guide=guide_html(translate, page.url_path),
    )


def _build_theme() -> gr.themes.Base:
    # Named system fonts only: a web font would be fetched from outside at every first visit.
    font_names = ["PingFang SC", "Noto Sans CJK SC", "Microsoft YaHei", "system-ui", "sans-serif"]
    return gr.themes.Base(
        primary_hue=gr.themes.colors.red,
        neutral_hue=gr.themes.colors.stone,
        font=font_names,
        font_mono=["ui-monospace", "Noto Sans Mono CJK SC", "monospace"],
        radius_size=gr.themes.sizes.radius_md,
    ).set(
        body_background_fill="#faf7f2",
        body_background_fill_dark="#171412",
        block_background_fill="#ffffff",
        block_background_fill_dark="#211d1a",
        button_primary_background_fill="#b8322a",
        button_primary_background_fill_hover="#9c2821",
        button_primary_background_fill_dark="#c8463d",
        button_primary_text_color="#ffffff",
        color_accent="#b8322a",
        input_background_fill="#f6f2ec",
        input_background_fill_dark="#2f2924",
        checkbox_border_color_dark="#7d7268",
        body_text_color_subdued="#6b625a",
        body_text_color_subdued_dark="#b3a89d",
        button_secondary_background_fill="#ffffff",
        button_secondary_background_fill_hover="#f5efe6",
        button_secondary_background_fill_dark="#2b2622",
        button_secondary_border_color="#ddd4c8",
        button_secondary_border_color_dark="#463e37",
        button_border_width="1px",
        button_large_text_weight="500",
    )


STYLE_SHEETS = ("zhufu.css", "annotate.css", "training.css", "principles.css", "playground.css", "pairs.css")
SCRIPTS = ("kit.js", "annotate.js", "playground-words.js", "playground.js")


def _head_html() -> Markup:
    return render(
        "shell/templates/head.html",
        style_urls=[_asset_url(asset_name) for asset_name in STYLE_SHEETS],
        script_urls=[_asset_url(asset_name) for asset_name in SCRIPTS],
    )


def _asset_url(asset_name: str) -> str:
    # In the address, so that a browser that cached the old file asks for the new one after an update.
    content_hash = hashlib.sha256((ASSETS_FOLDER / asset_name).read_bytes()).hexdigest()[:10]
    return f"/assets/{asset_name}?v={content_hash}"


def _redirect_front(request: Request) -> RedirectResponse:
    language = request.cookies.get(LANGUAGE_COOKIE)
    # The cookie comes from outside: put into the address unchecked it would redirect to another site.
    return RedirectResponse(f"/{language if language in LANGUAGES else 'zh'}/")


def _favicon_response() -> FileResponse:
    return FileResponse(ASSETS_FOLDER / "favicon.svg", media_type="image/svg+xml")
