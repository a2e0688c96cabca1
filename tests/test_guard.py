"""What stands before the application: known hosts, own pages, offered routes, exposure of a configuration."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.requests import Request

from backend.core.errors import UserError
from backend.core.network import answered_hosts, check_exposure, is_loopback
from backend.core.settings import PROJECT_ROOT, Settings
from backend.generation.serving import parse_serve_settings
from ui.shell.guard import MAX_JSON_BYTES, KnownHosts, OwnPagesOnly, SecurityHeaders

HOSTS = ("localhost", "127.0.0.1", "[::1]", "*.example.org")


@pytest.fixture
def client() -> TestClient:
    inner = FastAPI()

    async def echo(request: Request) -> str:
        return f"reached {request.url.path}"

    for path in ("/", "/api/votes", "/zh/{below:path}"):
        inner.add_api_route(path, echo, methods=["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"])
    inner.add_middleware(OwnPagesOnly, prefixes=("zh",), pages=("", "annotate"))
    inner.add_middleware(KnownHosts, hosts=HOSTS)
    inner.add_middleware(SecurityHeaders)
    return TestClient(inner, base_url="http://localhost:7860")


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:7860", "LOCALHOST:1", "127.0.0.1:7860", "[::1]", "[::1]:7860", "a.example.org"],
)
def test_its_own_names_are_answered(client: TestClient, host: str) -> None:
    assert client.get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:7860",
        "localhost.evil.example",
        "example.org.evil",
        "192.168.1.5:7860",
        "[::2]:7860",
        "127.0.0.1.nip.io",
        "",
        "localhost@evil",
        "0.0.0.0",
    ],
)
def test_any_other_name_is_refused_with_what_to_do(client: TestClient, host: str) -> None:
    reply = client.get("/", headers={"host": host})
    assert reply.status_code == 421 and "ZHUFU_ALLOWED_HOSTS" in reply.json()["error"]["zh"]
    assert client.post("/api/votes", headers={"host": host}).status_code == 421


FOREIGN = (
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"origin": "http://localhost:9999"},
    {"origin": "http://localhost"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"},
)


@pytest.mark.parametrize("headers", FOREIGN)
@pytest.mark.parametrize("path", ["/api/votes", "/zh/gradio_api/upload", "/zh/gradio_api/queue/join"])
def test_nothing_that_another_site_sends_arrives(client: TestClient, path: str, headers: dict[str, str]) -> None:
    for method in ("POST", "PUT", "DELETE", "GET", "OPTIONS"):
        reply = client.request(method, path, headers=headers)
        assert reply.status_code == 403 and "reached" not in reply.text
        assert "access-control-allow-origin" not in reply.headers


def test_a_link_from_another_site_may_be_followed_but_not_posted(client: TestClient) -> None:
    followed = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert client.get("/zh/annotate", headers=followed).status_code == 200
    assert client.post("/zh/annotate", headers=followed).status_code == 403


def test_its_own_pages_and_programs_are_let_through(client: TestClient) -> None:
    own = {"origin": "http://localhost:7860", "sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"}
    assert client.post("/api/votes", headers=own).status_code == 200
    assert client.post("/api/votes").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "offered"),
    [
        ("GET", "", True),
        ("GET", "annotate", True),
        ("GET", "annotate/", True),
        ("GET", "assets/index.js", True),
        ("POST", "annotate", False),
        ("POST", "gradio_api/queue/join", True),
        ("POST", "gradio_api/queue/join/", True),
        ("POST", "gradio_api/run/predict", True),
        ("POST", "gradio_api/run/run_3", False),
        ("POST", "gradio_api/api/predict", False),
        ("POST", "gradio_api/call/look", False),
        ("POST", "gradio_api/call/v2/look", False),
        ("GET", "gradio_api/call/look/1", False),
        ("GET", "gradio_api/deep_link?session_hash=x", False),
        ("GET", "?deep_link=abc", False),
        ("GET", "config?deep_link=abc", False),
        ("GET", "gradio_api/file=/tmp/x", True),
        ("HEAD", "gradio_api/file=/tmp/x", True),
        ("GET", "gradio_api/file=http://example.org/x", False),
        ("GET", "gradio_api/file=https://example.org/x", False),
        ("GET", "gradio_api/file/tmp/x", False),
        ("GET", "gradio_api/proxy=http://example.org/", False),
        ("POST", "gradio_api/component_server", False),
        ("POST", "gradio_api/process_recording", False),
        ("POST", "gradio_api/vibe-edit", False),
        ("POST", "gradio_api/stream/x", False),
        ("GET", "monitoring", False),
        ("GET", "monitoring/summary", False),
        ("POST", "login", False),
        ("GET", "gradio_api/info", True),
        ("OPTIONS", "gradio_api/queue/join", False),
    ],
)
def test_only_what_a_page_needs_is_offered(client: TestClient, method: str, path: str, offered: bool) -> None:
    reply = client.request(method, f"/zh/{path}")
    assert (reply.status_code == 200, reply.status_code in (404, 405)) == (offered, not offered)


def test_a_body_has_a_stated_length_within_the_limit(client: TestClient) -> None:
    def chunks() -> Any:
        yield b"x"

    events = "/zh/gradio_api/queue/join"
    assert client.post(events, content=b"x" * (MAX_JSON_BYTES + 1)).status_code == 413
    assert client.post(events, content=chunks()).status_code == 413
    assert client.post(events, headers={"content-length": "1e3"}).status_code in (400, 413)
    # An upload may be larger than an event; the limit of a file itself is Gradio's.
    assert client.post("/zh/gradio_api/upload", content=b"x" * (MAX_JSON_BYTES + 1)).status_code == 200


def test_every_answer_forbids_frames_also_a_refusal(client: TestClient) -> None:
    for reply in (
        client.get("/"),
        client.get("/", headers={"host": "evil.example"}),
        client.get("/zh/nothing"),
    ):
        assert reply.headers["content-security-policy"] == "frame-ancestors 'none'"
        assert reply.headers["x-content-type-options"] == "nosniff"


def test_a_browser_gets_a_page_and_a_script_gets_json(client: TestClient) -> None:
    page = client.get("/zh/nothing", headers={"accept": "text/html,*/*"})
    assert page.headers["content-type"].startswith("text/html") and "这个地址没有内容" in page.text
    assert set(client.get("/zh/nothing").json()["error"]) == {"zh", "en"}


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("localhost", True),
        ("::1", True),
        ("[::1]", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.5", False),
        ("example.org", False),
        ("", False),
    ],
)
def test_which_addresses_only_this_machine_reaches(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def settings(**values: str) -> Settings:
    return Settings(_env_file=None, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"host": "0.0.0.0"}, "ZHUFU_PASSWORD"),
        ({"host": "192.168.1.5"}, "ZHUFU_PASSWORD"),
        ({"host": "::"}, "ZHUFU_PASSWORD"),
        ({"host": ""}, "ZHUFU_PASSWORD"),
        ({"host": "0.0.0.0", "password": "short"}, "ZHUFU_PASSWORD"),
        ({"password": "short"}, "ZHUFU_PASSWORD"),
        ({"allowed_hosts": "*"}, "ZHUFU_ALLOWED_HOSTS"),
        ({"allowed_hosts": "http://zhufu.example"}, "ZHUFU_ALLOWED_HOSTS"),
        ({"allowed_hosts": "zhufu.example:7860"}, "ZHUFU_ALLOWED_HOSTS"),
        ({"open_pages": "corpus"}, "ZHUFU_OPEN_PAGES"),
    ],
)
def test_what_would_be_open_to_a_network_is_refused_by_name(values: dict[str, str], named: str) -> None:
    with pytest.raises(UserError) as refused:
        check_exposure(settings(**values))
    for lang in ("zh", "en"):
        assert named in refused.value.text(lang)


def test_what_is_safe_starts() -> None:
    check_exposure(settings())
    check_exposure(settings(host="::1", allowed_hosts="zhufu.example, ::2"))
    check_exposure(settings(host="0.0.0.0", password="a long password", allowed_hosts="*", open_pages="write"))
    assert answered_hosts(settings(host="192.168.1.5", allowed_hosts="Zhufu.Example, fe80::1")) == (
        "localhost",
        "127.0.0.1",
        "[::1]",
        "zhufu.example",
        "[fe80::1]",
        "192.168.1.5",
    )


def test_the_server_does_not_start_open_to_a_network(tmp_path: Path) -> None:
    env = {
        "PATH": "/usr/bin:/bin",
        "ZHUFU_HOME": str(tmp_path / "home"),
        "ZHUFU_HOST": "0.0.0.0",
        "ZHUFU_PORT": "0",
    }
    done = subprocess.run(
        [sys.executable, "app.py"], cwd=PROJECT_ROOT, env=env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode != 0 and "ZHUFU_PASSWORD" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "home").exists()


def test_a_served_model_stays_on_this_machine() -> None:
    assert parse_serve_settings({"host": "::1"}).host == "::1"
    with pytest.raises(UserError, match="no password"):
        parse_serve_settings({"host": "0.0.0.0"})
