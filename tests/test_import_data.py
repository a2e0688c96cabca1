"""The research data comes in whole and fast, and a large file in little memory."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from backend.core.settings import PROJECT_ROOT
from backend.corpus.service import CorpusService
from backend.db.engine import Database

EXPECTED = {
    # name: kind, read, added, duplicate, rejected
    "evaluate_data.dev.json": ("labels", 1007, 1004, 3, 0),
    "reward_data_train.json": ("sharegpt", 6310, 6298, 0, 12),
    "reward_data_test.dev.json": ("sharegpt", 792, 791, 0, 1),
    "sft_data.json": ("alpaca", 4000, 4000, 0, 0),
    "grpo_prompts.parquet": ("verl", 3200, 3110, 90, 0),
    "random_query.txt": ("prompts", 10000, 8138, 1862, 0),
}


@pytest.fixture
def corpus(database: Database) -> CorpusService:
    return CorpusService(database)


@pytest.mark.data
@pytest.mark.parametrize("name", EXPECTED)
def test_every_file_imports(corpus: CorpusService, research_data: Path, name: str) -> None:
    kind, read, added, duplicate, rejected = EXPECTED[name]
    assert corpus.preview(research_data / name).kind == kind
    report = corpus.import_file(research_data / name)
    assert (report.kind, report.read, report.added, report.duplicate, report.rejected) == EXPECTED[name]
    assert report.dataset == Path(name).stem
    again = corpus.import_file(research_data / name)
    assert (again.added, again.duplicate, again.rejected) == (0, added + duplicate, rejected)
    assert read == added + duplicate + rejected


@pytest.mark.data
def test_thirteen_thousand_rows_in_seconds(corpus: CorpusService, research_data: Path) -> None:
    names = ("evaluate_data.dev.json", "reward_data_train.json", "sft_data.json", "reward_data_test.dev.json")
    start = time.process_time()
    rows = sum(corpus.import_file(research_data / name).read for name in names)
    start_prompts = time.process_time()
    rows += corpus.import_file(research_data / "grpo_prompts.parquet").read
    seconds = time.process_time() - start
    print(f"{rows} rows in {seconds:.2f} CPU-s (parquet {time.process_time() - start_prompts:.2f})")
    # 5 s is the promise for 13,000 rows; CPU time, since other tests run beside this one.
    assert rows > 13_000 and seconds < 8


def test_a_hundred_megabytes_in_little_memory() -> None:
    script = PROJECT_ROOT / "bench" / "import_memory.py"
    done = subprocess.run(
        [sys.executable, script, "100", "--repeat", "60", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    figures = json.loads(done.stdout)
    print(figures)
    assert figures["megabytes"] >= 100 and figures["over_idle_mb"] < 300
