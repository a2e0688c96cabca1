"""The application around the pages: languages by URL, navigation, theme, assets, error answers."""

import hashlib
import html
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import gradio as gr
from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles
from gradio.components.navbar import Navbar
from gradio.routes import App
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.routing import Mount

from backend.network import answered_hosts, open_pages
from backend.services import Services
from backend.settings import Settings
from backend.signing import secret_of
from ui import (
    agreement_page,
    annotate_page,
    annotation_api,
    campaigns_page,
    corpus_page,
    entrance,
    home_page,
    judges_page,
    manual,
    pairs_page,
    playground_api,
    playground_page,
    principles_page,
    training_page,
)
from ui.document import Document
from ui.entrance import LOGIN, Admission, Password, PasswordRequired
from ui.guard import KnownHosts, OwnPagesOnly, SecurityHeaders
from ui.guide import guide_button, guide_html
from ui.later import Later
from ui.polite_route import disk_refused
from ui.say import Lang, Say
from ui.uploads import UploadRegistry
from ui.widgets import html_block

ASSETS = Path(__file__).parent / "assets"
LANGS: tuple[Lang, ...] = ("zh", "en")
LANG_COOKIE = "zhufu_lang"
SESSION_COOKIE = "zhufu_session"
KEEP_FILES_S = (3600, 24 * 3600)
"""How often uploads and downloads are looked through, and how old the removed ones are, in seconds."""


@dataclass(frozen=True)
class Page:
    """One page: its path below the language, its name in both, and what builds it."""

    path: str
    zh: str
    en: str
    build: Callable[[Services, Say], None]
    apart: bool = False
    """Whether a new group of the navigation begins here."""


PAGES = (
    Page("", "首页", "Home", home_page.build),
    Page("write", "写祝福", "Write", playground_page.build),
    Page("annotate", "标注", "Annotate", annotate_page.build, apart=True),
    Page("campaigns", "任务", "Campaigns", campaigns_page.build),
    Page("corpus", "语料", "Corpus", corpus_page.build),
    Page("judges", "裁判", "Judges", judges_page.build, apart=True),
    Page("principles", "原则", "Principles", principles_page.build),
    Page("agreement", "一致性", "Agreement", agreement_page.build),
    Page("pairs", "偏好对", "Pairs", pairs_page.build, apart=True),
    Page("training", "训练", "Training", training_page.build),
)


def build_app(services: Services) -> FastAPI:
    """The whole web application around the services."""
    app = FastAPI(title="Zhufu", docs_url=None, redoc_url=None, openapi_url=None)
    # Gradio keeps uploads and downloads there; by default in a folder of /tmp that every user can read.
    os.environ["GRADIO_TEMP_DIR"] = str(services.settings.home.resolve() / "uploads")
    app.state.pages = []
    admission = _admission(services.settings)
    app.include_router(annotation_api.router(services))
    app.include_router(playground_api.router(services))
    app.include_router(manual.router(_asset("manual.css"), _asset("shell.js")))
    app.mount("/assets", StaticFiles(directory=ASSETS), name="assets")
    app.add_api_route("/", _front, include_in_schema=False)
    app.add_api_route("/favicon.ico", _favicon, include_in_schema=False)
    # Gradio says at every start that several pages rule out server-side rendering, which is off anyway.
    warnings.filterwarnings("ignore", message="SSR mode is not supported", category=UserWarning)
    mount = partial(_mount, services=services, admission=admission, mounted=app.state.pages)
    first, *others = LANGS
    for lang in others:
        Later(f"/{lang}", partial(mount, FastAPI(), lang)).join(app)
    mount(app, first)
    return _guarded(app, services.settings, admission)


def _admission(settings: Settings) -> Admission | None:
    """Who may enter; None where everybody on this machine may."""
    if not (password := settings.password.get_secret_value()):
        return None
    return Admission(Password(password, secret_of(settings.home)), open_pages(settings), LANGS)


def _guarded(app: FastAPI, settings: Settings, admission: Admission | None) -> FastAPI:
    """The application behind everything that a request must pass; what is added last looks first."""
    if admission is not None:
        app.include_router(entrance.router(admission, _asset("manual.css"), _asset("shell.js")))
        app.add_middleware(PasswordRequired, admission=admission)
    app.add_middleware(UploadRegistry)
    secret = f"session {secret_of(settings.home)}"
    app.add_middleware(SessionMiddleware, secret_key=secret, session_cookie=SESSION_COOKIE, same_site="lax")
    app.add_middleware(OwnPagesOnly, prefixes=LANGS, pages=[page.path for page in PAGES])
    app.add_middleware(KnownHosts, hosts=answered_hosts(settings))
    app.add_middleware(SecurityHeaders)
    return app


def let_go(app: FastAPI) -> None:
    """End the heartbeats of pages that are open in browsers; called in the event loop, before a stop."""
    for pages in app.state.pages:
        pages.stop_event.set()


def _mount(
    app: FastAPI, lang: Lang, services: Services, admission: Admission | None, mounted: list[App]
) -> FastAPI:
    blocks = _blocks(services, Say(lang))
    # Gradio checks paths only once this is set, which `launch()` does and mounting does not.
    blocks.has_launched = True
    gr.mount_gradio_app(
        app,
        blocks,
        path=f"/{lang}",
        theme=_theme(),
        head=_head(),
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        max_file_size="200mb",
        allowed_paths=[str(services.settings.home.resolve() / "exports")],
        auth_dependency=(lambda request: admission.who(request.scope)) if admission else None,
    )
    mounts = (route for route in app.routes if isinstance(route, Mount) and route.path == f"/{lang}")
    pages = next(mount.app for mount in mounts if isinstance(mount.app, App))
    # Appended: inside of Gradio's compression.
    document = Middleware(Document, lang="zh-CN" if lang == "zh" else lang, script=_asset("shell.js"))
    pages.user_middleware.append(document)
    pages.add_exception_handler(OSError, disk_refused)
    mounted.append(pages)
    return app


def _blocks(services: Services, say: Say) -> gr.Blocks:
    title = say("祝福 · 写好祝福，也信得过评判", "Zhufu · greetings, and judges you can check")
    first, *others = PAGES
    blocks = gr.Blocks(title=title, analytics_enabled=False, fill_width=True, delete_cache=KEEP_FILES_S)
    with blocks:
        _page(services, say, first)
    for page in others:
        with blocks.route(say(page.zh, page.en), page.path, show_in_navbar=False):
            _page(services, say, page)
    for function in blocks.fns.values():
        # Our own script calls events by number; by name nobody here does.
        function.api_visibility = "private"
    return blocks


def _page(services: Services, say: Say, page: Page) -> None:
    Navbar(visible=False)
    locked = bool(services.settings.password.get_secret_value())
    html_block(_header(say, page, locked), elem_id="zf-header")
    page.build(services, say)


def _header(say: Say, here: Page, locked: bool) -> str:
    return (
        f'<div class="zf-bar"><a class="zf-brand" href="/{say.lang}/" aria-label="{say("祝福", "Zhufu")}">'
        f'<span class="zf-seal" aria-hidden="true">福</span><span>{say("祝福", "Zhufu")}</span></a>'
        f"{_menu(say, here)}{_navigation(say, here)}{_tools(say, here, locked)}</div>"
        f"{guide_html(say, here.path)}"
    )


def _menu(say: Say, here: Page) -> str:
    """What stands for the navigation on a narrow screen: the page one is on, and all of them at a press."""
    name = say("打开导航", "Open navigation")
    return (
        '<button type="button" class="zf-menu" data-zf-menu aria-expanded="false" aria-controls="zf-nav" '
        f'aria-label="{name}"><i aria-hidden="true">☰</i>{html.escape(say(here.zh, here.en))}</button>'
    )


def _navigation(say: Say, here: Page) -> str:
    links = "".join(
        f'<a href="/{say.lang}/{page.path}"{apart(page.apart)}{current(page is here)}>'
        f"{html.escape(say(page.zh, page.en))}</a>"
        for page in PAGES
    )
    return f'<nav class="zf-nav" id="zf-nav" aria-label="{say("主导航", "Main navigation")}">{links}</nav>'


def _tools(say: Say, here: Page, locked: bool) -> str:
    other: Lang = "en" if say.lang == "zh" else "zh"
    leave = f'<a href="{LOGIN}">{say("登录/退出", "Sign in/out")}</a>' if locked else ""
    return (
        f'<div class="zf-tools">{leave}{guide_button(say, here.path)}<button type="button" data-zf-theme '
        f'aria-label="{say("切换深色模式", "Toggle dark mode")}">◐</button>'
        f'<a data-zf-lang="{other}" href="/{other}/{here.path}" lang="{"en" if other == "en" else "zh-CN"}">'
        f"{'EN' if other == 'en' else '中文'}</a></div>"
    )


def apart(begins: bool) -> str:
    """The attribute that marks the first link of a group."""
    return ' class="zf-apart"' if begins else ""


def current(is_here: bool) -> str:
    """The attribute that marks the link of the page one is on."""
    return ' aria-current="page"' if is_here else ""


def _theme() -> gr.themes.Base:
    # Named system fonts only: a web font would be fetched from outside at every first visit.
    fonts = ["PingFang SC", "Noto Sans CJK SC", "Microsoft YaHei", "system-ui", "sans-serif"]
    return gr.themes.Base(
        primary_hue=gr.themes.colors.red,
        neutral_hue=gr.themes.colors.stone,
        font=fonts,
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


def _head() -> str:
    styles = "".join(
        f'<link rel="stylesheet" href="{_asset(name)}">'
        for name in (
            "zhufu.css",
            "annotate.css",
            "training.css",
            "principles.css",
            "playground.css",
            "pairs.css",
        )
    )
    scripts = "".join(
        f'<script defer src="{_asset(name)}"></script>'
        for name in ("kit.js", "annotate.js", "playground-words.js", "playground.js")
    )
    return f'<meta name="viewport" content="width=device-width, initial-scale=1">{styles}{scripts}'


def _asset(name: str) -> str:
    stamp = hashlib.sha256((ASSETS / name).read_bytes()).hexdigest()[:10]
    return f"/assets/{name}?v={stamp}"


def _front(request: Request) -> RedirectResponse:
    lang = request.cookies.get(LANG_COOKIE)
    return RedirectResponse(f"/{lang if lang in LANGS else 'zh'}/")


def _favicon() -> FileResponse:
    return FileResponse(ASSETS / "favicon.svg", media_type="image/svg+xml")
