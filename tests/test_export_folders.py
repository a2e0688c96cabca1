"""Exports at the same time: each gets a whole file, also where two are to become the same one."""

import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from backend.core.errors import UserError
from backend.core.settings import PROJECT_ROOT
from backend.corpus.export import RETENTION_S, new_export_path
from backend.corpus.service import CorpusService
from backend.db.engine import Database
from tests import corpus_files as files

pytestmark = pytest.mark.database

PAIRS = 3_000


@pytest.fixture
def corpus(database: Database, tmp_path: Path) -> CorpusService:
    made = CorpusService(database)
    for name in ("first", "second"):
        rows = [
            {"prompt": f"{name} 请求 {n}", "chosen": f"{name} 好 {n}", "rejected": f"{name} 差 {n}"}
            for n in range(PAIRS)
        ]
        made.import_file(files.json_lines(tmp_path / f"{name}.jsonl", rows))
    return made


def sources(path: Path) -> set[str]:
    """The data sets that the rows of an export came from; every line must be whole."""
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return {row["prompt"][0]["content"].partition(" ")[0] for row in rows}


def test_exports_of_pages_never_share_a_file(corpus: CorpusService, home: Path) -> None:
    start = threading.Barrier(8)

    def export(number: int) -> tuple[str, Path]:
        name = ("first", "second")[number % 2]
        path = new_export_path(home, "zhufu-pairs-trl.jsonl")
        start.wait()
        return name, Path(corpus.export("pairs", "trl", path, dataset=name).path)

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(export, range(8)))
    assert len({path for _, path in done}) == 8
    for name, path in done:
        assert path.name == "zhufu-pairs-trl.jsonl" and sources(path) == {name}
        assert len(path.read_text("utf-8").splitlines()) == PAIRS
        assert path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o777 == 0o700
        assert [each.name for each in path.parent.iterdir()] == [path.name]
    assert (home / "exports").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("fmt", ["trl", "sharegpt", "csv", "parquet"])
def test_threads_that_write_to_one_path_leave_one_whole_file(corpus: CorpusService, tmp_path: Path, fmt: str) -> None:
    path = tmp_path / "out.x"
    start = threading.Barrier(4)

    def export(number: int) -> None:
        start.wait()
        corpus.export("pairs", fmt, path, dataset=("first", "second")[number % 2])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(export, range(4)))
    again = CorpusService(corpus._database)
    assert again.import_file(path, dataset=f"again {fmt}").read == PAIRS
    assert not list(tmp_path.glob(".*.part"))
    if fmt == "trl":
        assert len(sources(path)) == 1


@pytest.mark.parametrize("output", ["out.jsonl", "splits"])
def test_commands_that_write_to_one_path_leave_the_files_of_one(
    corpus: CorpusService, tmp_path: Path, output: str
) -> None:
    command = [sys.executable, "-m", "backend", "export", "pairs", "--format", "trl", "-o", output]
    running = [
        subprocess.Popen(
            [*command, "--dataset", name], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(PROJECT_ROOT)}
        )
        for name in ("first", "second", "first", "second")
    ]
    assert [each.wait(timeout=120) for each in running] == [0, 0, 0, 0]
    found = sorted((tmp_path / output).glob("*")) if output == "splits" else [tmp_path / output]
    assert [path.name for path in found] in ([output], ["test.jsonl", "train.jsonl", "validation.jsonl"])
    assert len({name for path in found for name in sources(path)}) == 1
    assert sum(len(path.read_text("utf-8").splitlines()) for path in found) == PAIRS
    assert not list(tmp_path.rglob("*.part"))


def test_old_exports_go_and_new_ones_stay(home: Path) -> None:
    old, new = new_export_path(home, "a"), new_export_path(home, "b")
    old.write_text("a")
    new.write_text("b")
    loose = home / "exports" / "left-by-an-older-version.csv"
    loose.write_text("c")
    outside = home / "outside"
    outside.mkdir()
    (home / "exports" / "link").symlink_to(outside)
    before = time.time() - RETENTION_S - 60
    for each in (old.parent, loose, home / "exports" / "link"):
        os.utime(each, (before, before), follow_symlinks=False)
    new_export_path(home, "c")
    assert new.exists() and outside.is_dir()
    assert not old.exists() and not loose.exists() and not (home / "exports" / "link").is_symlink()


def test_an_export_never_replaces_a_device(corpus: CorpusService, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    for path in (tmp_path / "pipe.jsonl", Path("/dev/null")):
        with pytest.raises(UserError, match="device or a pipe"):
            corpus.export("pairs", "trl", path)


def test_a_home_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        new_export_path(tmp_path / "file", "x")
