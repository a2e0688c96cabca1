"""With a password set, every route of the running application asks for it, but for what is opened by name."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from backend.core.settings import PROJECT_ROOT
from tests.real_app import App, running
from ui.shell.app import LANGUAGES, SITE_PAGES
from ui.shell.entrance import MOST_TRIES, TRY_WINDOW_S, Admission, LoginAttempts, ResearcherPassword, safe_target

pytestmark = pytest.mark.database

PASSWORD = "correct horse 电池"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


@pytest.fixture(scope="module")
def closed(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    home = Path(shutil.copytree(prepared, tmp_path_factory.mktemp("closed") / "home"))
    with running(home, ZHUFU_PASSWORD=PASSWORD) as app:
        yield app


@pytest.fixture(scope="module")
def opened(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    home = Path(shutil.copytree(prepared, tmp_path_factory.mktemp("opened") / "home"))
    with running(home, ZHUFU_PASSWORD=PASSWORD, ZHUFU_OPEN_PAGES="annotate,write") as app:
        yield app


def client_of(app: App) -> httpx.Client:
    return httpx.Client(base_url=app.url, timeout=30)


def sign_in(client: httpx.Client, password: str = PASSWORD, target: str = "/zh/corpus") -> int:
    return client.post("/login", data={"password": password, "next": target}).status_code


FREE = ("/login", "/logout", "/assets/", "/help/", "/favicon.ico")


def test_nobody_passes_without_the_password(closed: App, tmp_path: Path) -> None:
    listed = subprocess.run(
        [sys.executable, "-m", "tests.route_paths", str(tmp_path / "home")],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    paths = json.loads(listed.stdout)
    assert {"/api/annotation/enter", "/api/play/rounds", "/zh/config", "/en/gradio_api/upload"} <= set(paths)
    with client_of(closed) as nobody:
        for path in paths:
            for method in METHODS:
                if not path.startswith(FREE):
                    status = nobody.request(method, path).status_code
                    assert status in (401, 404), (method, path)
        assert nobody.post("/zh/gradio_api/queue/join", json={"data": []}).json()["error"]["zh"]


def test_a_page_leads_to_the_password_and_back(closed: App) -> None:
    with client_of(closed) as client:
        for page in SITE_PAGES:
            reply = client.get(f"/zh/{page.url_path}", headers={"accept": "text/html"})
            assert reply.status_code == 303 and reply.headers["location"].startswith("/login?next=%2Fzh%2F")
        shown = client.get("/login?next=/zh/corpus")
        assert 'type="password"' in shown.text and 'value="/zh/corpus"' in shown.text
        assert sign_in(client, "wrong password") == 401
        assert client.get("/zh/config").status_code == 401
        assert sign_in(client) == 303
        assert client.get("/zh/config").json()["username"] == "researcher"
        assert client.get("/en/corpus").status_code == 200
        assert client.get("/api/play/models").status_code == 200
        client.post("/logout")
        assert client.get("/zh/config").status_code == 401


def test_an_address_waits_until_its_first_wrong_try_is_a_minute_old() -> None:
    now = 0.0
    attempts = LoginAttempts(lambda: now)
    for second in (0.0, 10.0, 20.0, 30.0):
        now = second
        attempts.record_failure("a")
    assert attempts.seconds_to_wait("a") == 0
    now = 40.0
    attempts.record_failure("a")
    assert attempts.seconds_to_wait("a") == TRY_WINDOW_S - 40 and attempts.seconds_to_wait("b") == 0
    now = TRY_WINDOW_S + 0.1
    assert attempts.seconds_to_wait("a") == 0


def test_a_new_password_ends_every_session() -> None:
    session: dict[str, object] = {}
    ResearcherPassword("first password", "secret").sign_in(session)
    assert ResearcherPassword("first password", "secret").is_signed_in(session)
    assert not ResearcherPassword("other password", "secret").is_signed_in(session)
    assert not ResearcherPassword("first password", "another secret").is_signed_in(session)
    assert not ResearcherPassword("first password", "secret").is_signed_in({})


@pytest.mark.parametrize(
    ("given", "target"),
    [
        ("/zh/corpus", "/zh/corpus"),
        ("/zh/pairs?run=3", "/zh/pairs?run=3"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example/", "/"),
        ("javascript:alert(1)", "/"),
        ("/a\nSet-Cookie: x", "/"),
        ("", "/"),
    ],
)
def test_signing_in_leads_nowhere_else(given: str, target: str) -> None:
    assert safe_target(given) == target


ASKED_BY_OPEN_PAGES = {
    "GET": (
        "/zh/annotate",
        "/en/write",
        "/zh/config?page=annotate",
        "/zh/theme.css",
        "/api/annotation/me",
        "/api/play/models",
        "/api/play/rounds",
    ),
    "POST": ("/api/annotation/enter", "/api/play/wake"),
}
RESEARCHERS = {
    "GET": (
        "/zh/",
        "/zh/corpus",
        "/zh/config",
        "/zh/config?page=corpus",
        "/zh/config?page=annotate&page=corpus",
        "/zh/config?page=",
        "/en/training",
        "/api/play/tallies",
        "/zh/gradio_api/queue/data",
        "/zh/gradio_api/file=/tmp/x",
        "/zh/gradio_api/info",
    ),
    "POST": (
        "/zh/gradio_api/queue/join",
        "/zh/gradio_api/run/predict",
        "/zh/gradio_api/upload",
        "/api/play/models/start",
        "/api/play/models/stop",
        "/api/play/starter",
        "/api/play/campaign",
        "/api/play/score",
        "/zh/annotate",
    ),
}


def test_open_pages_are_whole_and_nothing_more(opened: App) -> None:
    with client_of(opened) as visitor:
        for method, paths in ASKED_BY_OPEN_PAGES.items():
            for path in paths:
                reply = visitor.request(method, path, json={"name": "小明"} if method == "POST" else None)
                assert reply.status_code == 200, (method, path, reply.text)
        for method, paths in RESEARCHERS.items():
            for path in paths:
                assert visitor.request(method, path).status_code in (401, 404), (method, path)
        page = visitor.get("/login").text
        assert 'href="/zh/annotate"' in page and 'href="/zh/write"' in page


def test_one_open_page_does_not_open_the_other() -> None:
    admission = Admission(ResearcherPassword(PASSWORD, "secret"), frozenset({"annotate"}), LANGUAGES)

    def is_open(method: str, path: str) -> bool:
        return admission.is_open({"method": method, "path": path, "query_string": b""})

    assert is_open("GET", "/zh/annotate") and is_open("POST", "/api/annotation/compare")
    for method, path in (("GET", "/zh/write"), ("GET", "/api/play/models"), ("POST", "/api/play/rounds")):
        assert not is_open(method, path)


def test_guessing_is_slowed_down(closed: App) -> None:
    with client_of(closed) as client:
        # Wrong tries of the tests before count as well: all come from one address.
        tries = [sign_in(client, f"guess number {n}") for n in range(MOST_TRIES + 1)]
        assert tries[0] == 401 and tries[-1] == 429
        slow = client.post("/login", data={"password": PASSWORD})
        assert slow.status_code == 429 and int(slow.headers["retry-after"]) > 30 and "秒" in slow.text
