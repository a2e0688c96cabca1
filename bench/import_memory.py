"""A generated 100 MB file of labels goes in: time, rows a minute, and memory over an idle process.

    python bench/import_memory.py [MEGABYTES] [--repeat N] [--json]

The bound is 300 MB over idle; the figure is the peak resident set of this process.
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from backend.corpus.service import CorpusService
from backend.db.engine import Database
from backend.db.migrate import migrate

BOUND_MB = 300


def peak_mb() -> float:
    """Peak resident memory of this process so far."""
    status = Path("/proc/self/status")
    if status.exists():
        # Linux hands ru_maxrss of the parent on to the child; VmHWM starts afresh with the program.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


def generate(path: Path, megabytes: int, repeat: int) -> int:
    """Write distinct labelled greetings of `repeat` sentences each until the file is large enough."""
    rows = written = 0
    with path.open("wb") as file:
        while written < megabytes << 20:
            text = f"第{rows}封信：" + "愿你今天也被温柔地对待，记得按时吃饭，早点睡觉。" * repeat
            row = {"query": f"写给第{rows % 5000}位朋友的祝福", "response": text, "label": rows % 2}
            written += file.write((json.dumps(row, ensure_ascii=False) + "\n").encode())
            rows += 1
    return rows


def measure(folder: Path, megabytes: int, repeat: int) -> dict[str, float]:
    """Import the generated file into a fresh database."""
    path = folder / "large.jsonl"
    rows = generate(path, megabytes, repeat)
    database = Database(f"sqlite:///{folder / 'zhufu.db'}")
    migrate(database)
    corpus = CorpusService(database)
    idle, start = peak_mb(), time.perf_counter()
    report = corpus.import_file(path)
    seconds = time.perf_counter() - start
    assert (report.added, report.rejected) == (rows, 0), report
    database.close()
    return {
        "megabytes": round(path.stat().st_size / (1 << 20), 1),
        "rows": rows,
        "seconds": round(seconds, 1),
        "rows_per_minute": round(60 * rows / seconds),
        "idle_mb": round(idle),
        "over_idle_mb": round(peak_mb() - idle),
        "bound_mb": BOUND_MB,
    }


def main() -> None:
    """Print the figures; exit 1 beyond the bound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("megabytes", type=int, nargs="?", default=100)
    parser.add_argument("--repeat", type=int, default=4, help="sentences a greeting: 4 is usual, 60 is long")
    parser.add_argument("--json", action="store_true")
    wish = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), wish.megabytes, wish.repeat)
    if wish.json:
        print(json.dumps(figures))
    else:
        print("\n".join(f"{name}: {value:,}" for name, value in figures.items()))
    sys.exit(figures["over_idle_mb"] > BOUND_MB)


if __name__ == "__main__":
    main()
