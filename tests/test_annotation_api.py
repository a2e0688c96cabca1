"""The annotation routes: who, what is refused, and that an answer brings the next item."""

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from backend.core.enums import CampaignKind
from backend.core.signing import Signer, load_secret
from backend.services import Services
from tests.annotation_helpers import add_corpus, add_judge, campaign, greeting_ids
from ui.annotation.routes import RATER_COOKIE, build_router

API = "/api/annotation"


@pytest.fixture
def app(services: Services) -> FastAPI:
    add_corpus(services.database, 3)
    made = FastAPI()
    made.include_router(build_router(services))
    return made


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app) as made:
        yield made


def _post(client: TestClient, path: str, body: dict[str, Any], status: int = 200) -> dict[str, Any]:
    reply = client.post(f"{API}/{path}", json=body)
    assert reply.status_code == status, reply.text
    answer = reply.json()
    assert isinstance(answer, dict)
    if status != 200:
        assert set(answer["error"]) == {"zh", "en"} and "Traceback" not in reply.text
    return answer


def test_a_name_is_remembered_in_a_signed_cookie(app: FastAPI, client: TestClient, services: Services) -> None:
    assert client.get(f"{API}/me").json() == {"rater": None}
    _post(client, "enter", {"name": ""}, 400)
    entered = client.post(f"{API}/enter", json={"name": " 小明 "})
    cookie = entered.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=lax" in cookie
    assert client.get(f"{API}/me").json()["rater"]["name"] == "小明"
    forged = Signer(services.settings.home, "another purpose").sign(1)
    assert TestClient(app, cookies={RATER_COOKIE: forged}).get(f"{API}/me").json() == {"rater": None}
    _post(client, "leave", {})
    assert client.get(f"{API}/me").json() == {"rater": None}


def test_everything_else_needs_a_known_name(client: TestClient, services: Services) -> None:
    assert client.get(f"{API}/campaigns").status_code == 401
    _post(client, "next", {"campaign_id": 1}, 401)
    client.cookies.set(RATER_COOKIE, Signer(services.settings.home, "zhufu-rater").sign(999))
    _post(client, "next", {"campaign_id": 1}, 401)


def test_an_answer_is_stored_once_and_brings_the_next_item(client: TestClient, services: Services) -> None:
    made = campaign(services.annotation)
    _post(client, "enter", {"name": "小明"})
    first = _post(client, "next", {"campaign_id": made.id})
    body = {
        "campaign_id": made.id,
        "item_id": first["next"]["item_id"],
        "outcome": "a",
        "reasons": ["cliche"],
        "seconds": 2,
        "request_id": "one",
    }
    told = _post(client, "compare", body)
    assert told["saved"]["created"] and told["next"]["item_id"] != body["item_id"]
    assert told["progress"] == {"done": 1, "mine": 1, "left_for_me": 2, "total": 3}
    again = _post(client, "compare", body)
    assert (again["saved"]["created"], again["next"]) == (False, told["next"])
    _post(client, "compare", {**body, "request_id": "two"}, 409)
    back = _post(client, "undo", {"campaign_id": made.id, "request_id": "u"})
    assert back["next"]["item_id"] == body["item_id"] and back["progress"]["mine"] == 0


def test_the_last_answer_brings_none_and_the_counts(client: TestClient, services: Services) -> None:
    made = campaign(services.annotation, limit=1)
    _post(client, "enter", {"name": "小明"})
    item = _post(client, "next", {"campaign_id": made.id})["next"]["item_id"]
    answer = {"campaign_id": made.id, "item_id": item, "outcome": "both_good", "request_id": "r"}
    told = _post(client, "compare", answer)
    assert told["next"] is None
    assert told["progress"] == {"done": 1, "mine": 1, "left_for_me": 0, "total": 1}


def test_the_judge_stays_hidden_until_the_own_verdict(client: TestClient, services: Services) -> None:
    add_judge(services.database, "panel", greeting_ids(services.database), "裁判的秘密理由")
    made = campaign(services.annotation, kind=CampaignKind.VALIDATE, judge="panel")
    _post(client, "enter", {"name": "小明"})
    listed = client.get(f"{API}/campaigns").text
    asked = _post(client, "next", {"campaign_id": made.id})
    for shown in (listed, json.dumps(asked, ensure_ascii=False)):
        assert "panel" not in shown and "秘密" not in shown and "demo" not in asked["next"]
    assert asked["next"]["reveal"] is None
    place = {"campaign_id": made.id, "item_id": asked["next"]["item_id"]}
    told = _post(client, "verdict", {**place, "value": 1, "request_id": "v"})
    assert told["reveal"] == {"value": 1.0, "reason": "裁判的秘密理由", "scale": "binary"}
    assert told["next"]["item_id"] == place["item_id"] and told["next"]["reveal"] == told["reveal"]
    after = _post(client, "review", {**place, "agrees": False, "reason": "太短", "request_id": "w"})
    assert after["next"]["item_id"] != place["item_id"]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"outcome": "left"}, 400),
        ({"reasons": ["ugly"]}, 400),
        ({"item_id": 9_999}, 404),
        ({"campaign_id": 9_999}, 404),
        ({"item_id": 2**70}, 422),
        ({"item_id": "1"}, 422),
        ({"seconds": -1}, 422),
        ({"request_id": "a b"}, 422),
        ({"reasons": ["cliche"] * 11}, 422),
        ({"rater_id": 2}, 422),
    ],
)
def test_hand_made_nonsense_is_one_sentence(
    client: TestClient, services: Services, change: dict[str, Any], status: int
) -> None:
    made = campaign(services.annotation)
    _post(client, "enter", {"name": "小明"})
    item = _post(client, "next", {"campaign_id": made.id})["next"]["item_id"]
    good = {"campaign_id": made.id, "item_id": item, "outcome": "a", "request_id": "r"}
    _post(client, "compare", {**good, **change}, status)
    assert services.annotation.progress(made.id, 1).mine == 0


def test_a_large_body_is_refused(client: TestClient) -> None:
    assert client.post(f"{API}/enter", json={"name": "a" * 70_000}).status_code == 413


def test_what_breaks_inside_is_logged_and_told_as_a_sentence(
    app: FastAPI, services: Services, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_args: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(type(services.annotation), "enter", broken)
    reply = TestClient(app).post(f"{API}/enter", json={"name": "小明"})
    assert reply.status_code == 500
    assert set(reply.json()["error"]) == {"zh", "en"} and "secret detail" not in reply.text
    assert "secret detail" in caplog.text


def test_the_secret_is_made_once_and_private(tmp_path: Path) -> None:
    first = load_secret(tmp_path)
    assert len(first) >= 48 and load_secret(tmp_path) == first
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]
    signer = Signer(tmp_path, "a")
    assert signer.read(signer.sign(7)) == 7
    assert signer.read(signer.sign(7) + "x") is None and signer.read("") is None
