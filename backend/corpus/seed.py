"""The seed corpus of `data/seed/` as the data set "seed"."""

import hashlib
from pathlib import Path

from backend.corpus import store
from backend.corpus.importing import Wish, import_file
from backend.db.engine import Database
from backend.errors import UserError
from backend.records import ImportReport
from backend.settings import ROOT

NAME = "seed"
FOLDER = ROOT / "data" / "seed"


def load(database: Database, folder: Path = FOLDER) -> ImportReport | None:
    """Import every seed file that is new or changed since; None when nothing was to do."""
    files = sorted(folder.glob("*.jsonl"))
    if not files:
        raise UserError(
            f"The seed corpus is missing: there is no .jsonl file in {folder}.",
            f"找不到种子语料：{folder} 中没有 .jsonl 文件。",
        )
    state = _state(files)
    with database.read() as session:
        rater = store.rater_of(session, NAME)
        if rater is not None and rater.config.get("sha256") == state:
            return None
    # A row that the authors turned round since must not keep the application from starting.
    reports = [import_file(database, Wish(file, dataset=NAME, kind="seed", skip_bad=True)) for file in files]
    with database.write() as session:
        rater = store.rater_of(session, NAME)
        if rater is not None:
            rater.config = {"sha256": state}
    return _sum(folder, reports)


def _state(files: list[Path]) -> str:
    hasher = hashlib.sha256()
    for file in files:
        hasher.update(hashlib.sha256(file.read_bytes()).digest())
    return hasher.hexdigest()


def _sum(folder: Path, reports: list[ImportReport]) -> ImportReport:
    return ImportReport(
        path=str(folder),
        kind="seed",
        dataset=NAME,
        read=sum(report.read for report in reports),
        added=sum(report.added for report in reports),
        duplicate=sum(report.duplicate for report in reports),
        rejected=sum(report.rejected for report in reports),
        errors=tuple(error for report in reports for error in report.errors),
    )
