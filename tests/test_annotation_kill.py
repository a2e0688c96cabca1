"""SIGKILL in a burst of labels: whatever was acknowledged is on disk, and no item has too many holders."""

import threading
import time
import uuid
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from backend.core.settings import Settings
from backend.db.engine import Database
from backend.db.tables import Comparison, Lease
from tests.real_app import App, start

pytestmark = [pytest.mark.database]

CLIENTS = 8
K = 3  # raters an item in the campaign that a fresh start brings along


class Rater(threading.Thread):
    """One annotator who labels as fast as the server answers, and remembers what it acknowledged."""

    def __init__(self, app: App, number: int) -> None:
        super().__init__(daemon=True)
        self.app = app
        self.number = number
        self.acknowledged: dict[int, tuple[str, str]] = {}

    def run(self) -> None:
        try:
            self._label()
        except httpx.TransportError:
            return

    def _label(self) -> None:
        with httpx.Client(base_url=f"{self.app.url}/api/annotation", timeout=20) as client:
            client.post("/enter", json={"name": f"标注员{self.number}"}).raise_for_status()
            campaign = compare_campaign(client)
            item = client.post("/next", json={"campaign_id": campaign}).json()["next"]
            while item is not None:
                request_id = uuid.uuid4().hex
                outcome = ("a", "b", "both_good", "both_bad")[len(self.acknowledged) % 4]
                body = {"campaign_id": campaign, "item_id": item["item_id"], "outcome": outcome}
                reply = client.post("/compare", json={**body, "request_id": request_id})
                reply.raise_for_status()
                self.acknowledged[reply.json()["saved"]["label_id"]] = (request_id, outcome)
                item = reply.json()["next"]


def compare_campaign(client: httpx.Client) -> int:
    """The id of the compare campaign that a fresh start brings along."""
    found: list[dict[str, Any]] = client.get("/campaigns").json()["campaigns"]
    return next(int(campaign["id"]) for campaign in found if campaign["kind"] == "compare")


def test_acknowledged_labels_survive_sigkill(fresh_home: Path) -> None:
    app = start(fresh_home)
    raters = [Rater(app, number) for number in range(CLIENTS)]
    try:
        for rater in raters:
            rater.start()
        deadline = time.monotonic() + 30
        while sum(len(r.acknowledged) for r in raters) < 60 and time.monotonic() < deadline:
            time.sleep(0.002)
    finally:
        app.kill()
    for rater in raters:
        rater.join(25)

    again = start(fresh_home)
    try:
        database = Database(Settings(home=fresh_home).url)
        with database.read() as session:
            stored = {row.id: (row.request_id, row.outcome.value) for row in session.scalars(select(Comparison))}
            holders = select(func.count(Lease.id).label("n")).group_by(Lease.item_id).subquery()
            most = session.scalar(select(func.max(holders.c.n)))
        database.close()
    finally:
        again.kill()
    acknowledged = {label: said for rater in raters for label, said in rater.acknowledged.items()}
    assert len(acknowledged) >= 60
    assert {label: stored.get(label) for label in acknowledged} == acknowledged
    assert most is not None and most <= K
