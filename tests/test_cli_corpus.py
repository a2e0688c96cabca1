"""`import`, `export` and `seed` as scripts see them."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from backend.cli import corpus_commands
from backend.core.settings import PROJECT_ROOT
from tests import corpus_files as files
from tests.corpus_files import GOOD, WEAK

pytestmark = [pytest.mark.database, pytest.mark.usefixtures("home")]


def run(*words: str | Path, code: int = 0) -> tuple[Any, str]:
    """The object a command printed (or its plain text) and its messages."""
    done = subprocess.run(
        [sys.executable, "-m", "backend", *map(str, words)],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr + done.stdout
    return json.loads(done.stdout) if "--json" in words else done.stdout, done.stderr


def test_import_and_export(tmp_path: Path) -> None:
    path = files.json_lines(tmp_path / "labels.json", [GOOD, WEAK, GOOD])
    result, _ = run("import", path, "--dataset", "mine", "--json")
    assert result == {
        "files": [
            {
                "path": str(path),
                "kind": "labels",
                "dataset": "mine",
                "read": 3,
                "added": 2,
                "duplicate": 1,
                "rejected": 0,
                "errors": [],
            }
        ]
    }
    out = tmp_path / "out.jsonl"
    result, _ = run("export", "labels", "--format", "trl", "-o", out, "--json")
    assert (result["path"], result["rows"], set(result)) == (
        str(out),
        2,
        {"path", "rows", "splits", "dropped"},
    )
    result, _ = run("import", out, "--dataset", "mine", "--json")
    assert (result["files"][0]["added"], result["files"][0]["duplicate"]) == (0, 2)


def test_a_refused_file_is_one_sentence_and_code_2(tmp_path: Path) -> None:
    path = files.json_lines(tmp_path / "bad.json", [GOOD, {**WEAK, "label": 7}])
    text, message = run("import", path, code=2)
    assert text == ""
    assert message.strip() == (
        "error: bad.json, line 2: the label is '7', not 0 or 1; nothing was stored. "
        "Correct the file, or skip bad rows (--skip-bad)."
    )
    result, message = run("import", path, "--json", code=2)
    assert message.count("\n") == 1
    assert result["files"][0]["errors"] == [{"line": 2, "reason": "the label is '7', not 0 or 1"}]
    assert (result["files"][0]["added"], result["files"][0]["rejected"]) == (0, 1)
    text, _ = run("import", path, "--skip-bad")
    assert "2 read, 1 added, 0 duplicate, 1 rejected" in text and "line 2: the label is '7'" in text


def test_some_refused_files_are_code_1(tmp_path: Path) -> None:
    good = files.json_lines(tmp_path / "good.json", [GOOD])
    result, message = run("import", good, tmp_path / "none.json", "--json", code=1)
    assert [each["added"] for each in result["files"]] == [1, 0]
    assert "none.json does not exist" in message


def test_mapped_columns(tmp_path: Path) -> None:
    path = files.sheet(tmp_path / "t.csv", [["q", "a"], ["请", "好"]])
    _, message = run("import", path, code=2)
    assert "its fields are: q, a" in message
    result, _ = run("import", path, "--map", "prompt=q", "--map", "response=a", "--json")
    assert result["files"][0]["kind"] == "table" and result["files"][0]["added"] == 1
    _, message = run("import", path, "--map", "prompt", code=2)
    assert "FIELD=COLUMN" in message


def test_seed(tmp_path: Path) -> None:
    first, _ = run("seed", "--json")
    assert first["files"][0]["dataset"] == "seed" and first["files"][0]["added"] >= 600
    again, _ = run("seed", "--json")
    assert again["files"][0]["added"] == 0
    assert again["files"][0]["duplicate"] == first["files"][0]["added"]
    result, _ = run("export", "pairs", "--format", "sharegpt", "-o", tmp_path / "out", "--json")
    assert result["rows"] == first["files"][0]["added"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "train.json",
        "validation.json",
        "test.json",
    }


def test_wrong_exports(tmp_path: Path) -> None:
    _, message = run("export", "pairs", "--format", "csv", "-o", tmp_path / "x.csv", code=2)
    assert "There are no pairs to export here" in message
    _, message = run("export", "pairs", "--format", "xml", "-o", tmp_path / "x.xml", code=2)
    assert "no format 'xml'" in message


def test_the_progress_line(capsys: pytest.CaptureFixture[str]) -> None:
    show = corpus_commands._build_progress_bar()
    for share in (0.0, 0.001, 0.5, 1.0):
        show(share, "x: storing")
    shown = capsys.readouterr().err
    assert shown.count("\r") == 3 and shown.endswith("100 % x: storing\n")
