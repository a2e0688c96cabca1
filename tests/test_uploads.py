"""No event, route or link of the running application hands out a file that its visitor did not upload."""

import json
import re
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import hostile_files as hostile
from tests.real_app import App, running
from ui.shell.app import LANGUAGES

pytestmark = pytest.mark.database

TABLE = "prompt,greeting,label\n给奶奶的生日祝福,奶奶福寿安康,1\n"


@pytest.fixture(scope="module")
def app(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    home = Path(shutil.copytree(prepared, tmp_path_factory.mktemp("uploads") / "home"))
    with running(home) as started:
        yield started


@pytest.fixture
def visitor(app: App) -> Iterator[httpx.Client]:
    """A browser that has opened a page."""
    with httpx.Client(base_url=app.url, timeout=90) as client:
        client.get("/zh/corpus")
        yield client


@dataclass(frozen=True)
class Event:
    """One event of the pages in one language, with its inputs' kinds of component."""

    lang: str
    number: int
    queued: bool
    inputs: tuple[str, ...]


def events(client: httpx.Client) -> list[Event]:
    found = []
    for lang in LANGUAGES:
        config = client.get(f"/{lang}/config").json()
        kinds = {component["id"]: component["type"] for component in config["components"]}
        found += [
            Event(lang, event["id"], event["queue"] is not False, tuple(kinds[one] for one in event["inputs"]))
            for event in config["dependencies"]
            if event["backend_fn"]
        ]
    return found


def taking_files(client: httpx.Client) -> list[Event]:
    return [event for event in events(client) if "file" in event.inputs]


def file_data(path: str | Path) -> dict[str, Any]:
    return {"path": str(path), "orig_name": "x", "meta": {"_type": "gradio.FileData"}}


def call(client: httpx.Client, event: Event, value: Any, *, everywhere: bool = False) -> str:
    """What the event answers at once, with the value in its file inputs (or in all of them)."""
    data = [value if everywhere or kind == "file" else None for kind in event.inputs]
    body = {"fn_index": event.number, "data": data, "session_hash": "direct"}
    return client.post(f"/{event.lang}/gradio_api/run/predict", json=body).text


def queue(client: httpx.Client, event: Event, value: Any) -> str:
    """What the event answers through the queue."""
    data = [value if kind == "file" else None for kind in event.inputs]
    session = f"queue{event.number}"
    body = {"fn_index": event.number, "data": data, "session_hash": session}
    joined = client.post(f"/{event.lang}/gradio_api/queue/join", json=body)
    assert joined.status_code == 200, joined.text
    lines = []
    with client.stream("GET", f"/{event.lang}/gradio_api/queue/data", params={"session_hash": session}) as stream:
        for line in stream.iter_lines():
            lines.append(line)
            if '"process_completed"' in line or '"close_stream"' in line:
                break
    return "\n".join(lines)


def upload(client: httpx.Client, text: str = TABLE, name: str = "table.csv", lang: str = "zh") -> str:
    reply = client.post(f"/{lang}/gradio_api/upload", files={"files": (name, text.encode())})
    assert reply.status_code == 200, reply.text
    return str(reply.json()[0])


def stolen(app: App, marks: list[bytes]) -> list[Path]:
    """Files in the folder of uploads and downloads that hold one of the marks."""
    kept = [path for path in (app.home / "uploads").rglob("*") if path.is_file()]
    return [path for path in kept if any(mark in path.read_bytes() for mark in marks)]


def targets(app: App) -> dict[str, bytes]:
    """Paths that must never be read, and what would give their contents away."""
    secret = app.home / "secret"
    link = app.home / "link.csv"
    if not link.is_symlink():
        link.symlink_to(secret)
    mark = secret.read_bytes()
    return {
        str(secret): mark,
        str(app.home / "uploads" / ".." / "secret"): mark,
        str(link): mark,
        str(app.home / "zhufu.db"): b"SQLite format 3",
        "/etc/passwd": b"root:x:0:0",
        "/proc/self/environ": b"ZHUFU_HOME=",
        "file:///etc/passwd": b"root:x:0:0",
    }


def test_there_are_events_that_take_files_in_both_languages(visitor: httpx.Client) -> None:
    found = taking_files(visitor)
    assert {event.lang for event in found} == set(LANGUAGES) and len(found) >= 4 * len(LANGUAGES)


@pytest.mark.parametrize("way", [call, queue])
def test_no_event_takes_a_path_that_was_not_uploaded(app: App, visitor: httpx.Client, way: Any) -> None:
    for event in taking_files(visitor):
        for path, mark in targets(app).items():
            answer = way(visitor, event, file_data(path))
            assert mark.decode("utf-8", "replace") not in answer and "Traceback" not in answer, (event, path)
    assert stolen(app, list(targets(app).values())) == []


def test_no_input_of_any_event_fetches_a_file(app: App, visitor: httpx.Client) -> None:
    secret = str(app.home / "secret")
    for event in events(visitor):
        if event.inputs:
            answer = call(visitor, event, file_data(secret), everywhere=True)
            assert targets(app)[secret].decode() not in answer, event
    assert stolen(app, [targets(app)[secret]]) == []


def test_no_route_hands_out_a_path(app: App, visitor: httpx.Client) -> None:
    for lang in LANGUAGES:
        for path, mark in targets(app).items():
            for route in ("file=", "file/"):
                reply = visitor.get(f"/{lang}/gradio_api/{route}{path}")
                assert reply.status_code in (403, 404) and mark not in reply.content, path


def test_deep_links_and_names_are_not_offered(app: App, visitor: httpx.Client) -> None:
    (app.home / "uploads" / "deep_links" / ("a" * 64)).mkdir(parents=True, exist_ok=True)
    for lang in LANGUAGES:
        assert visitor.get(f"/{lang}/gradio_api/deep_link?session_hash=direct").status_code == 404
        assert visitor.get(f"/{lang}/?deep_link={'a' * 64}").status_code == 404
        assert visitor.get(f"/{lang}/config?deep_link={'a' * 64}").status_code == 404
        body = {"data": [file_data("/etc/passwd")]}
        for name in ("look", "look_1", "run", "begin", "predict", "rough"):
            for route in ("call", "call/v2", "api"):
                assert visitor.post(f"/{lang}/gradio_api/{route}/{name}", json=body).status_code == 404
        info = visitor.get(f"/{lang}/gradio_api/info").json()
        assert info["named_endpoints"] == {} and info["unnamed_endpoints"] == {}


def preview(client: httpx.Client, path: str, lang: str = "zh") -> str:
    """The first event that looks into a dropped file."""
    event = next(one for one in taking_files(client) if one.lang == lang and one.inputs == ("file",))
    return call(client, event, file_data(path))


def test_an_upload_is_read_for_its_visitor_and_for_nobody_else(app: App, visitor: httpx.Client) -> None:
    path = upload(visitor)
    assert "奶奶福寿安康" in json.loads(preview(visitor, path))["data"][0]
    assert "奶奶福寿安康" in json.loads(preview(visitor, path, "en"))["data"][0]
    with httpx.Client(base_url=app.url, timeout=30) as other:
        other.get("/zh/corpus")
        answer = json.loads(preview(other, path))["data"][0]
        assert "奶奶福寿安康" not in answer and "重新拖入文件" in answer
        # The same content makes the same path; whoever uploads it owns it as well.
        assert upload(other) == path and "奶奶福寿安康" in preview(other, path)


def test_two_uploads_of_a_visitor_are_both_known(visitor: httpx.Client) -> None:
    first, second = upload(visitor), upload(visitor, TABLE.replace("奶奶", "爷爷"), "二.csv", "en")
    assert "奶奶福寿" in preview(visitor, first) and "爷爷福寿" in preview(visitor, second)


def test_who_has_opened_no_page_uploads_nothing(app: App) -> None:
    with httpx.Client(base_url=app.url) as nobody:
        reply = nobody.post("/zh/gradio_api/upload", files={"files": ("a.csv", b"secret upload")})
        assert reply.status_code == 403 and stolen(app, [b"secret upload"]) == []
        nobody.cookies.set("zhufu_session", "forged.cookie.value")
        assert nobody.post("/zh/gradio_api/upload", files={"files": ("a.csv", b"x")}).status_code == 403


def test_other_sites_and_other_names_reach_no_page_event_or_upload(app: App, visitor: httpx.Client) -> None:
    for headers, status in (
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"host": "rebound.evil.example"}, 421),
        ({"host": "rebound.evil.example", "origin": "http://rebound.evil.example"}, 421),
        ({"host": "10.0.0.7:7860"}, 421),
    ):
        for lang in LANGUAGES:
            for method, path in (
                ("POST", f"/{lang}/gradio_api/upload"),
                ("POST", f"/{lang}/gradio_api/queue/join"),
                ("POST", f"/{lang}/gradio_api/run/predict"),
                ("GET", f"/{lang}/config"),
                ("GET", f"/{lang}/"),
                ("POST", "/api/annotation/enter"),
                ("POST", "/api/play/rounds"),
            ):
                reply = visitor.request(method, path, headers=headers, json={})
                assert reply.status_code == status, (headers, path)
                assert "access-control-allow-origin" not in reply.headers


def test_pages_cannot_be_framed(visitor: httpx.Client) -> None:
    for path in ("/zh/annotate", "/en/write", "/help/zh/index.md", "/assets/kit.js"):
        assert visitor.get(path).headers["content-security-policy"] == "frame-ancestors 'none'"


def test_uploads_and_exports_are_for_the_owner_of_the_home_alone(app: App, visitor: httpx.Client) -> None:
    path = Path(upload(visitor))
    assert path.is_relative_to(app.home.resolve() / "uploads")
    assert re.fullmatch(r"[0-9a-f]{64}", path.parent.name)


def test_forty_previews_of_a_hostile_sheet_leave_the_server_answering(
    app: App, visitor: httpx.Client, tmp_path: Path
) -> None:
    sheet = hostile.slow_sheet(tmp_path / "slow.xlsx")
    reply = visitor.post("/zh/gradio_api/upload", files={"files": ("slow.xlsx", sheet.read_bytes())})
    path = reply.json()[0]
    event = next(one for one in taking_files(visitor) if one.inputs == ("file",))
    waits = []
    with ThreadPoolExecutor(40) as pool:
        looks = [pool.submit(call, visitor, event, file_data(path)) for _ in range(40)]
        while not all(look.done() for look in looks):
            start = time.monotonic()
            assert httpx.post(f"{app.url}/api/annotation/enter", json={"name": "小明"}).status_code == 200
            waits.append(time.monotonic() - start)
            time.sleep(0.05)
    answers = [json.loads(look.result())["data"][0] for look in looks]
    # Too slow, too many at once, or read after all: a sentence each.
    assert all(answer.startswith('<div class="zf-') for answer in answers), set(answers)
    assert len(waits) > 5 and max(waits) < 5, max(waits)
    assert "奶奶福寿安康" in preview(visitor, upload(visitor))
