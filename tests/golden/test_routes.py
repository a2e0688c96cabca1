"""The routes of annotation and playground for fixed requests: what they answer, and with which status."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.golden.expected import same
from tests.golden.looks import doors
from tests.golden.looks.home import RATERS, VISITORS, House

pytestmark = pytest.mark.database
Masked = Callable[[Any], Any]


def _told(client: TestClient, method: str, path: str, body: Any = None) -> Any:
    reply = client.request(method, path, json=body)
    return {"request": [method, path, body], "status": reply.status_code, "reply": reply.json()}


def test_annotation_that_only_looks(house: House) -> None:
    with doors.client(house, rater=RATERS["阿敏"]) as known, doors.client(house) as unknown:
        told = [_told(known, "GET", f"/api/annotation/{path}") for path in ("me", "campaigns")]
        told += [_told(unknown, "GET", f"/api/annotation/{path}") for path in ("me", "campaigns")]
    same("routes/annotation-looks", told)


def test_annotation_from_item_to_undo(own_house: House) -> None:
    campaigns = {1: "compare", 4: "verdict", 3: "closed", 99: "none"}
    with doors.client(own_house, rater=RATERS["阿敏"]) as client:
        told = [_told(client, "POST", "/api/annotation/next", {"campaign_id": one}) for one in campaigns]
        compare, verdict = (one["reply"]["next"]["item_id"] for one in told[:2])
        answer = {"campaign_id": 1, "item_id": compare, "outcome": "a", "request_id": "golden-1"}
        blind = {"campaign_id": 4, "item_id": verdict, "value": 1, "request_id": "golden-2"}
        review = {"campaign_id": 4, "item_id": verdict, "agrees": False, "request_id": "golden-3"}
        for path, body in (
            ("compare", {**answer, "reasons": ["cliche", "vague"], "seconds": 3.5}),
            ("compare", answer),
            ("compare", {**answer, "request_id": "golden-4"}),
            ("compare", {**answer, "outcome": "nope", "request_id": "golden-5"}),
            ("compare", {**answer, "unknown": 1}),
            ("verdict", blind),
            ("review", {**review, "reason": "理由不够具体"}),
            ("undo", {"campaign_id": 1, "request_id": "golden-6"}),
        ):
            told.append(_told(client, "POST", f"/api/annotation/{path}", body))
    same("routes/annotation-answers", told)


def test_playground_that_only_looks(house: House, masked: Masked) -> None:
    with doors.client(house, visitor=VISITORS[1]) as client:
        told = [_told(client, "GET", f"/api/play/{path}") for path in ("models", "rounds", "tallies")]
        token = told[1]["reply"]["rounds"][0]["token"]
        told.append(_told(client, "GET", f"/api/play/rounds/{token}"))
    with doors.client(house, visitor=VISITORS[0]) as other:
        told.append(_told(other, "GET", f"/api/play/rounds/{token}"))
    same("routes/playground-looks", masked(told))


def test_playground_signals_and_refusals(own_house: House, tmp_path: Path) -> None:
    with doors.client(own_house, visitor=VISITORS[0]) as client:
        told = [
            _told(client, "POST", f"/api/play/{path}", body)
            for path, body in (
                ("cards/4/signal", {"value": -1, "request_id": "golden-1"}),
                ("cards/4/signal", {"value": 2, "request_id": "golden-2"}),
                ("cards/4/change", {"change": "nope"}),
                ("cards/30/signal", {"value": 1, "request_id": "golden-3"}),
                ("cards/4/judge", {"judge": "length"}),
                ("cards/4/judge", {"judge": "pairwise"}),
                ("rounds", {"models": [], "text": "给奶奶的祝福"}),
                ("rounds", {"models": ["示例模型"], "text": ""}),
                ("campaign", {"models": ["示例模型"], "kind": "compare"}),
                ("campaign", {"models": ["示例模型"], "kind": "nope"}),
            )
        ]
    same("routes/playground-answers", told)
