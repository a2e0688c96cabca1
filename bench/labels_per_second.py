"""Labels a second over HTTP at 8 clients, beside bare commits: `python -m bench.labels_per_second`."""

import argparse
import http.client
import json
import shutil
import sqlite3
import tempfile
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from backend.annotation.records import CampaignSpec
from backend.core.enums import CampaignKind
from backend.core.settings import Settings
from backend.services import build_services
from tests.real_app import App, running

CLIENTS = 8


class Client(threading.Thread):
    """One annotator on one connection, for as long as the clock runs."""

    def __init__(self, app: App, number: int, gate: threading.Barrier, seconds: float) -> None:
        super().__init__()
        self._connection = http.client.HTTPConnection(urlsplit(app.url).netloc)
        self._headers = {"Content-Type": "application/json"}
        self._number, self._gate, self._seconds = number, gate, seconds
        self.latencies: list[float] = []

    def run(self) -> None:
        self._post("enter", {"name": f"bench {self._number}"})
        item = self._post("next", {"campaign_id": 1})["next"]
        self._gate.wait()
        end = time.perf_counter() + self._seconds
        while item is not None and time.perf_counter() < end:
            begun = time.perf_counter()
            request = f"{self._number}-{len(self.latencies)}"
            body = {"campaign_id": 1, "item_id": item["item_id"], "outcome": "a", "request_id": request}
            item = self._post("compare", body)["next"]
            self.latencies.append(time.perf_counter() - begun)
        self._connection.close()

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        self._connection.request("POST", f"/api/annotation/{path}", json.dumps(body), self._headers)
        reply = self._connection.getresponse()
        if cookie := reply.getheader("set-cookie"):
            self._headers["Cookie"] = cookie.split(";")[0]
        data: dict[str, Any] = json.loads(reply.read())
        if reply.status != 200:
            raise SystemExit(f"{path}: {reply.status} {data}")
        return data


def commits_a_second(folder: Path) -> float:
    """One connection that inserts a row and commits, with the same settings."""
    connection = sqlite3.connect(folder / "bound.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT)")
    count, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < 2:
        connection.execute("INSERT INTO t (text) VALUES ('a')")
        count += 1
    connection.close()
    return count / (time.perf_counter() - begun)


def main() -> None:
    """Seed corpus, one campaign over all of it with k = 8, eight clients."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=8)
    seconds = parser.parse_args().seconds
    folder = Path(tempfile.mkdtemp())
    services = build_services(Settings(home=folder / "home"))
    services.corpus.load_seed()
    services.annotation.create_campaign(
        CampaignSpec("bench", CampaignKind.COMPARE, CLIENTS, "", False, (), None, None, None, 660, 1, None)
    )
    services.close()
    bound = commits_a_second(folder)
    with running(folder / "home") as app:
        gate = threading.Barrier(CLIENTS)
        clients = [Client(app, number, gate, seconds) for number in range(CLIENTS)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
    taken = sorted(latency for client in clients for latency in client.latencies)
    rate = len(taken) / seconds
    print(f"{rate:.0f} labels/s at {CLIENTS} clients, p50 {taken[len(taken) // 2] * 1e3:.1f} ms,", end=" ")
    print(f"p95 {taken[int(len(taken) * 0.95)] * 1e3:.1f} ms; bare commits {bound:.0f}/s ({rate / bound:.2f})")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
