"""Pictures of the pages.

`python -m tests.screenshots` takes the few of docs/images; `… FOLDER` takes every page and tab at three
widths, in both colour schemes and languages, with and without content, to be looked at; `… FOLDER WORD` only
those with WORD in their names.
"""

import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from backend.core.settings import PROJECT_ROOT
from tests.browser_setup import find_browser
from tests.llm_fixtures import running as fake_running
from tests.real_app import FLAGS, App, running
from tests.showcase import furnish, inhabit

WAIT = 60_000
HEIGHTS = {1440: 900, 1024: 768, 390: 844}
LOADING = re.compile(r"^(Loading\.\.\.|加载中.*)$")
MOST = 3000
"""Pixels of height that a picture of a whole page may have."""


@dataclass(frozen=True)
class View:
    """How a page is looked at."""

    width: int
    scheme: str
    lang: str

    def __str__(self) -> str:
        return f"{self.width}-{self.scheme}-{self.lang}"


@dataclass(frozen=True)
class Shot:
    """A page, or something in it: its address, what must be there, and what is done before the picture."""

    name: str
    path: str
    ready: str
    tabs: tuple[tuple[str, str], ...] = ()
    act: Callable[[Page], None] | None = None
    guided: bool = False
    """Whether the guide of a first visit is shown."""


VIEWS = [View(w, s, lang) for lang in ("zh", "en") for w in HEIGHTS for s in ("light", "dark")]


def on_an_item(page: Page) -> None:
    """Enter as a third person and open the compare campaign."""
    page.wait_for_selector("#zf-name, .zf-campaign", timeout=WAIT)
    if page.locator("#zf-name").count():
        page.fill("#zf-name", "阿敏")
        page.keyboard.press("Enter")
    page.locator(".zf-campaign", has_text="哪条更好").locator("[data-campaign]").click(timeout=WAIT)
    page.wait_for_selector("#zf-b", timeout=WAIT)


def open_menu(page: Page) -> None:
    """Show the navigation of a narrow screen."""
    if page.locator("[data-zf-menu]").is_visible():
        page.click("[data-zf-menu]")


def write(page: Page) -> None:
    """Ask for four greetings and look at the judges of the first."""
    page.wait_for_selector("#zf-play[data-ready]", timeout=WAIT)
    page.fill("#zf-play-text", "妈妈六十岁生日，她刚学会跳广场舞")
    page.click("#zf-play-go")
    page.wait_for_selector(".zf-round:not(.zf-running) .zf-slip[data-state=done]", timeout=WAIT)
    page.locator(".zf-slip [data-act=like]").first.click()
    page.locator(".zf-slip [data-act=judge]").first.click()
    page.wait_for_timeout(1500)


def open_log(page: Page) -> None:
    """Unfold what is folded, and the first disagreement."""
    for fold in page.locator("details.zf-entry > summary").all()[:1]:
        fold.click()


def to_the_talk(page: Page) -> None:
    """What the agents said, without what stands above it."""
    page.evaluate(
        "document.querySelectorAll('#zf-game-form, #zf-game-sides, #zf-game-curve, #zf-game-locked, "
        "#zf-game-fooling').forEach((one) => one.remove())"
    )


def open_pair(page: Page) -> None:
    """The debate of the first pair, with what can be done about it."""
    page.locator("#zf-pair-table [data-pair]").first.click(timeout=WAIT)
    page.wait_for_selector(".zf-debate", timeout=WAIT)


SHOTS = (
    Shot("home", "", "#zf-home-board table, #zf-home-board .zf-empty"),
    Shot("write-first", "write", "#zf-play[data-ready]", guided=True),
    Shot("write", "write", "#zf-play[data-ready]", act=write),
    Shot("menu", "agreement", "#zf-board", act=open_menu),
    Shot("enter", "annotate", "#zf-name", guided=True),
    Shot("annotate", "annotate", "#zf-annotate", act=on_an_item),
    Shot("campaigns", "campaigns", "#zf-campaigns table"),
    Shot("campaigns-close", "campaigns", "#zf-campaigns table", (("关闭与重开", "Close and reopen"),)),
    Shot("campaigns-item", "campaigns", "#zf-campaigns table", (("查一道题", "Look at an item"),)),
    Shot("corpus", "corpus", "#zf-browse table"),
    Shot("corpus-import", "corpus", "#zf-browse table", (("导入", "Import"),)),
    Shot("corpus-export", "corpus", "#zf-browse table", (("导出", "Export"),)),
    Shot("judges", "judges", "#zf-judges table"),
    Shot("judges-make", "judges", "#zf-judges table", (("新建与试用", "Make and try"),)),
    Shot("judges-beside", "judges", "#zf-judges table", (("并排看理由", "Side by side"),)),
    Shot("judges-runs", "judges", "#zf-judges table", (("评判任务", "Scoring runs"),)),
    Shot("judges-endpoints", "judges", "#zf-judges table", (("模型端点", "Endpoints"),)),
    Shot("pairs", "pairs", "#zf-pair-funnel ol, #zf-pair-runs .zf-empty"),
    Shot(
        "pairs-debate",
        "pairs",
        "#zf-pair-funnel ol",
        (("逐对看", "Pair by pair"),),
        act=open_pair,
    ),
    Shot("pairs-new", "pairs", "#zf-pair-runs > *", (("新的一批", "New run"),)),
    Shot("pairs-ablations", "pairs", "#zf-pair-runs > *", (("去掉一个角色", "Ablations"),)),
    Shot("principles", "principles", "#zf-game-head :is(h3, .zf-empty)"),
    Shot("principles-talk", "principles", "#zf-game-log .zf-talk, #zf-game-head .zf-empty", act=to_the_talk),
    Shot("principles-versions", "principles", "#zf-game-head :is(h3, .zf-empty)", (("版本", "Versions"),)),
    Shot("training", "training", "#zf-trainings table, #zf-trainings .zf-empty"),
    Shot("training-new", "training", "#zf-trainings > *", (("新训练", "New training"),)),
    Shot(
        "training-grpo",
        "training",
        "#zf-trainings > *",
        (("新训练", "New training"), ("强化学习 GRPO", "GRPO")),
    ),
    Shot("training-results", "training", "#zf-trainings > *", (("成果", "Results"),)),
    Shot("agreement", "agreement", "#zf-worst h3", act=open_log),
    Shot("agreement-guide", "agreement", "#zf-worst h3", guided=True),
)
EMPTY = (
    "write-first",
    "home",
    "campaigns",
    "corpus",
    "judges",
    "judges-make",
    "judges-runs",
    "pairs",
    "pairs-new",
    "principles",
    "principles-versions",
    "training",
    "training-results",
)
"""What is also looked at as a first start leaves it."""


ZH, EN, PHONE = View(1440, "light", "zh"), View(1024, "light", "en"), View(390, "dark", "zh")
PAGES = ("write", "annotate", "campaigns", "corpus", "judges", "principles", "pairs", "training", "agreement")
PARTS = (
    "corpus-import",
    "judges-make",
    "judges-endpoints",
    "pairs-debate",
    "principles-talk",
    "principles-versions",
    "training-new",
)
CHOSEN = dict.fromkeys(PAGES, (ZH, EN, PHONE)) | dict.fromkeys(("home", *PARTS), (ZH, EN))
CHOSEN["write"] = tuple(View(w, s, "en" if w == 1024 else "zh") for w in HEIGHTS for s in ("light", "dark"))
"""What the documentation shows; of Write, all widths in both schemes."""
CHOSEN_EMPTY = {"starter": (ZH, EN)}


def main() -> None:
    """Photograph an application with something on every page, and one as a first start leaves it."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else PROJECT_ROOT / "docs" / "images"
    word, everything = sys.argv[2] if len(sys.argv) > 2 else "", len(sys.argv) > 1
    folder.mkdir(parents=True, exist_ok=True)
    shots = {shot.name: shot for shot in SHOTS}
    empty = {f"empty-{name}": shots[name] for name in EMPTY} | {"starter": shots["training"]}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=list(FLAGS))
        with furnished() as app:
            wanted = dict.fromkeys(shots, VIEWS) if everything else CHOSEN
            shoot(browser, app, folder, shots, wanted, word, whole=everything)
        with fresh() as app:
            wanted = dict.fromkeys(empty, VIEWS) if everything else CHOSEN_EMPTY
            shoot(browser, app, folder, empty, wanted, word, whole=everything)
        browser.close()


@contextmanager
def furnished() -> Iterator[App]:
    """An application with something on every page."""
    with tempfile.TemporaryDirectory() as folder, fake_running() as fake:
        furnish(Path(folder) / "home", fake)
        with running(Path(folder) / "home") as app:
            inhabit(app)
            yield app


@contextmanager
def fresh() -> Iterator[App]:
    """An application as a first start leaves it."""
    with tempfile.TemporaryDirectory() as folder, running(Path(folder) / "home") as app:
        yield app


def shoot(
    browser: Browser,
    app: App,
    folder: Path,
    shots: dict[str, Shot],
    wanted: Mapping[str, Sequence[View]],
    word: str = "",
    *,
    whole: bool,
) -> None:
    """The wanted views of shots, a context of the browser for each view."""
    for view in VIEWS:
        names = [name for name, views in wanted.items() if view in views and word in f"{name}-{view}"]
        if not names:
            continue
        size = {"width": view.width, "height": HEIGHTS[view.width]}
        context = browser.new_context(viewport=size, color_scheme=view.scheme)
        for name in names:
            page = context.new_page()
            take(page, app, view, shots[name], folder / f"{name}-{view}.png", whole)
            page.close()
        context.close()


def take(page: Page, app: App, view: View, shot: Shot, file: Path, whole: bool) -> None:
    """One picture, of a whole page or what a screen shows; says so where a page is wider than its screen."""
    remember = "removeItem(KEY)" if shot.guided else "setItem(KEY, 'read')"
    page.add_init_script(f"localStorage.{remember.replace('KEY', repr(f'zhufu_guide_{shot.path}'))}")
    page.goto(f"{app.url}/{view.lang}/{shot.path}", wait_until="domcontentloaded")
    page.wait_for_selector(shot.ready, timeout=WAIT, state="attached")
    page.get_by_text(LOADING).wait_for(state="hidden", timeout=WAIT)
    page.wait_for_timeout(1500)
    for zh, en in shot.tabs:
        open_tab(page, zh if view.lang == "zh" else en)
    if shot.act:
        shot.act(page)
        page.wait_for_timeout(600)
    page.mouse.move(0, 0)
    page.evaluate("scrollTo(0, 0)")
    wide = page.evaluate("document.scrollingElement.scrollWidth")
    if wide > view.width:
        print(f"{file.name}: {wide} px wide")
    page.screenshot(path=file, full_page=whole)
    shrink(file)


def open_tab(page: Page, name: str) -> None:
    """A tab that is shown, or one among those that did not fit."""
    tab = page.get_by_role("tab", name=name, exact=True)
    if not tab.count():
        page.get_by_label("More tabs").locator("visible=true").first.click()
        tab = page.locator(".overflow-dropdown button", has_text=name)
    tab.click()
    page.wait_for_timeout(800)


def shrink(file: Path) -> None:
    """Few colours and no more than `MOST` rows: pages have few colours."""
    with Image.open(file) as image:
        cut = image.convert("RGB").crop((0, 0, image.width, min(image.height, MOST)))
    cut.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(file, optimize=True)


if __name__ == "__main__":
    main()
