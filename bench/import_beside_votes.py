"""People vote while a large file goes in: how long each vote takes, and how long the import.

    python bench/import_beside_votes.py [ROWS] [--json]

The votes come from another process, as fast as one person never presses: every 50 ms. The import stores ROWS
labelled greetings of ten a request.
"""

import argparse
import json
import multiprocessing
import statistics
import sys
import tempfile
import time
import uuid
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from backend.annotation.records import CampaignSpec, ComparisonInput
from backend.annotation.service import AnnotationService
from backend.core.enums import CampaignKind, Outcome
from backend.corpus.service import CorpusService
from backend.db.engine import Database
from backend.db.migrate import migrate

PAUSE_S = 0.05
PAIRS = 5_000


def _labels(path: Path, rows: int) -> Path:
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            text = f"第{number}封信：愿你今天也被温柔地对待，记得按时吃饭，早点睡觉。"
            row = {"query": f"写给第{number // 10}位朋友的祝福", "response": text, "label": number % 2}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return path


def _pairs(path: Path) -> Path:
    with path.open("w", encoding="utf-8") as file:
        for number in range(PAIRS):
            row = {"prompt": f"第{number}个请求", "chosen": f"祝福甲{number}", "rejected": f"祝福乙{number}"}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return path


def _campaign(database: Database, folder: Path) -> tuple[int, int]:
    CorpusService(database).import_file(_pairs(folder / "pairs.jsonl"))
    annotation = AnnotationService(database, 600)
    spec = CampaignSpec("votes", CampaignKind.COMPARE, 1, "", False, ("pairs",), None, None, None, PAIRS, 1, None)
    return annotation.create_campaign(spec).id, annotation.enter("voter").id


def _vote(url: str, campaign: int, rater: int, ready: Event, stop: Event, told: Any) -> None:
    """Answer one item after another until told to stop; put the seconds of each on the queue."""
    database = Database(url)
    annotation = AnnotationService(database, 600)
    item = annotation.next_item(campaign, rater)
    seconds: list[float] = []
    failed = 0
    ready.set()
    while not stop.is_set() and item is not None:
        answer = ComparisonInput(campaign, item.item_id, Outcome.A.value, uuid.uuid4().hex)
        start = time.perf_counter()
        try:
            _, item = annotation.compare_then_next(answer, rater)
        except Exception as error:
            failed += 1
            print("vote failed:", str(error)[:80], file=sys.stderr)
        seconds.append(time.perf_counter() - start)
        time.sleep(PAUSE_S)
    told.put((seconds, failed))
    database.close()


def measure(folder: Path, rows: int) -> dict[str, float]:
    """Import beside a voting process, into a fresh database."""
    url = f"sqlite:///{folder / 'zhufu.db'}"
    database = Database(url)
    migrate(database)
    campaign, rater = _campaign(database, folder)
    path = _labels(folder / "large.jsonl", rows)
    spawn = multiprocessing.get_context("spawn")
    ready, stop, told = spawn.Event(), spawn.Event(), spawn.Queue()
    voter = spawn.Process(target=_vote, args=(url, campaign, rater, ready, stop, told))
    voter.start()
    ready.wait()
    start = time.perf_counter()
    report = CorpusService(database).import_file(path)
    seconds = time.perf_counter() - start
    stop.set()
    latencies, failed = told.get()
    voter.join()
    database.close()
    assert report.added == rows, report
    cuts = statistics.quantiles(latencies, n=100)
    return {
        "rows": rows,
        "import_s": round(seconds, 1),
        "votes": len(latencies),
        "votes_failed": failed,
        "vote_p50_ms": round(1000 * cuts[49], 1),
        "vote_p99_ms": round(1000 * cuts[98], 1),
        "vote_max_ms": round(1000 * max(latencies), 1),
    }


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", type=int, nargs="?", default=200_000)
    parser.add_argument("--json", action="store_true")
    wish = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), wish.rows)
    print(json.dumps(figures) if wish.json else "\n".join(f"{name}: {value:,}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
