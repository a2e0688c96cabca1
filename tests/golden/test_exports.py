"""Everything that can be exported of the golden home is what it was, byte for byte."""

from pathlib import Path
from typing import Any

import pytest

from tests.golden.expected import same, same_text
from tests.golden.looks import exports
from tests.golden.looks.home import REFERENCES, House
from tests.golden.plain import hash_of

pytestmark = pytest.mark.database
IN_FULL = {
    *(("pairs", "everything", fmt) for fmt in ("trl", "sharegpt", "csv")),
    *(("labels", "validate", fmt) for fmt in ("trl", "sharegpt", "csv")),
    *(("pairs", scope, "csv") for scope in ("run", "compare")),
    ("labels", "everything", "csv"),
}
"""Exports that are committed as they are; of the others the hash, since the same rows stand here already."""


@pytest.mark.parametrize("what", ["pairs", "labels"])
@pytest.mark.parametrize("scope", exports.SCOPES)
def test_exports(house: House, tmp_path: Path, what: str, scope: str) -> None:
    reports = {fmt: _exported(house, what, fmt, scope, tmp_path) for fmt in exports.FORMATS}
    same(f"exports/{what}-{scope}-report", reports)


def _exported(house: House, what: str, fmt: str, scope: str, folder: Path) -> Any:
    path = folder / f"{what}{exports.FORMATS[fmt]}"
    report = exports.export(house, what, fmt, scope, path)
    if not path.exists():
        return report
    if fmt == "parquet":
        return {**report, **exports.parquet(path)}
    content = path.read_bytes()
    if (what, scope, fmt) in IN_FULL:
        same_text(f"exports/{what}-{scope}{exports.FORMATS[fmt]}", content.decode())
    return {**report, "bytes": len(content), "sha256": hash_of(content)}


def test_a_folder_with_a_file_a_split(house: House, tmp_path: Path) -> None:
    report = exports.export(house, "pairs", "trl", "everything", tmp_path / "folder")
    files = {path.name: hash_of(path.read_bytes()) for path in sorted((tmp_path / "folder").iterdir())}
    same("exports/folder", {**report, "files": files})


@pytest.mark.parametrize("run", [1, 2])
def test_pairs_of_a_run(own_house: House, tmp_path: Path, run: int) -> None:
    report = exports.export_run(own_house, run, "csv", tmp_path / "run.csv")
    same_text(f"exports/run-{run}.csv", (tmp_path / "run.csv").read_bytes().decode())
    same(f"exports/run-{run}-report", report)


@pytest.mark.parametrize("name", ["short", "compare", "checked_pairs"])
def test_the_board_as_csv(house: House, name: str) -> None:
    same_text(f"exports/board-{name}.csv", exports.board_csv(house, REFERENCES[name]))
