"""The real application in a process of its own, and a real browser: what the journeys stand on."""

import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from backend.core.settings import Settings
from backend.db.engine import Database
from backend.services import build_services
from tests.browser_setup import find_browser
from tests.job_helpers import sweep
from tests.preloaded import Process, start_app

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

PATIENCE = 30


@dataclass
class App:
    """A running application."""

    url: str
    home: Path
    process: Process

    def kill(self) -> None:
        """SIGKILL, as a power cut would."""
        self.process.kill()
        self.process.wait(10)


def free_port() -> int:
    """A port nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(home: Path, port: int | None = None, wait: float = 90, **settings: str) -> App:
    """Start `app.py` on loopback, with these variables besides, and wait for its first page."""
    port = port or free_port()
    env = {key: value for key, value in os.environ.items() if not key.startswith("ZHUFU_")}
    # Without the model that comes along: a journey begins with what it names itself.
    env |= {"ZHUFU_HOME": str(home), "ZHUFU_PORT": str(port), "ZHUFU_STARTER": "offer"} | settings
    home.mkdir(parents=True, exist_ok=True)
    process = start_app(env, home / "server.log")
    app = App(f"http://127.0.0.1:{port}", home, process)
    deadline = time.monotonic() + wait
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            page = urllib.request.Request(f"{app.url}/zh/", headers={"Accept": "text/html"})
            with urllib.request.urlopen(page, timeout=5) as reply:
                if reply.status == 200:
                    return app
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
    process.kill()
    process.wait(10)
    raise AssertionError(f"the application did not start:\n{(home / 'server.log').read_text()[-3000:]}")


@contextmanager
def running(home: Path, **settings: str) -> Iterator[App]:
    """The application for the length of a block."""
    app = start(home, **settings)
    try:
        yield app
    finally:
        stopped = stop(app)
        # Jobs outlive the application by design; what a test started must not outlive the test.
        with closing(Database(f"sqlite:///{home / 'zhufu.db'}")) as database:
            sweep(database)
        assert stopped, f"the application did not stop in {PATIENCE} s"


def stop(app: App) -> bool:
    """Ask the application to leave; whether it did, whatever pages are still open in browsers."""
    app.process.terminate()
    try:
        app.process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        app.kill()
        return False
    return True


def until_ready(page: Page) -> None:
    """Wait until what the annotation page shows takes an answer, as a person who reads does."""
    page.wait_for_selector('.zf-item[data-ready="true"]')


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One headless Chromium for the tests of a file.

    Not for the whole run: Playwright keeps an event loop in this thread, beside which asyncio.run fails.
    """
    path = find_browser()
    if path is None:
        pytest.skip("no Chromium is installed; run make browser")
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield made
        made.close()


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home as the first start leaves it, to be copied: one fit of the judges for all tests."""
    home = tmp_path_factory.mktemp("prepared") / "home"
    services = build_services(Settings(home=home))
    services.prepare()
    services.close()
    return home


@pytest.fixture
def fresh_home(prepared: Path, tmp_path: Path) -> Path:
    """A home of one's own, as the first start leaves it."""
    return Path(shutil.copytree(prepared, tmp_path / "home"))
