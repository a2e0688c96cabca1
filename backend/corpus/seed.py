"""The seed corpus of `data/seed/` as the data set "seed"."""

import hashlib
from pathlib import Path

from backend.corpus import store
from backend.corpus.importing import ImportRequest, import_file
from backend.db.engine import Database
from backend.errors import UserError
from backend.records import ImportReport
from backend.settings import PROJECT_ROOT

SEED_NAME = "seed"
SEED_FOLDER = PROJECT_ROOT / "data" / "seed"


def load_seed(database: Database, seed_folder: Path = SEED_FOLDER) -> ImportReport | None:
    """Import every seed file that is new or changed since; None when nothing was to do."""
    seed_files = sorted(seed_folder.glob("*.jsonl"))
    if not seed_files:
        raise UserError(
            f"The seed corpus is missing: there is no .jsonl file in {seed_folder}.",
            f"找不到种子语料：{seed_folder} 中没有 .jsonl 文件。",
        )
    content_hash = _hash_files(seed_files)
    with database.read() as session:
        seed_rater = store.find_dataset_rater(session, SEED_NAME)
        if seed_rater is not None and seed_rater.config.get("sha256") == content_hash:
            return None
    # A row that the authors turned round since must not keep the application from starting.
    file_reports = [
        import_file(database, ImportRequest(seed_file, dataset=SEED_NAME, kind="seed", skip_bad=True))
        for seed_file in seed_files
    ]
    with database.write() as session:
        seed_rater = store.find_dataset_rater(session, SEED_NAME)
        if seed_rater is not None:
            seed_rater.config = {"sha256": content_hash}
    return _sum_reports(seed_folder, file_reports)


def _hash_files(seed_files: list[Path]) -> str:
    sha256_hasher = hashlib.sha256()
    for seed_file in seed_files:
        sha256_hasher.update(hashlib.sha256(seed_file.read_bytes()).digest())
    return sha256_hasher.hexdigest()


def _sum_reports(seed_folder: Path, file_reports: list[ImportReport]) -> ImportReport:
    return ImportReport(
        path=str(seed_folder),
        kind="seed",
        dataset=SEED_NAME,
        read=sum(file_report.read for file_report in file_reports),
        added=sum(file_report.added for file_report in file_reports),
        duplicate=sum(file_report.duplicate for file_report in file_reports),
        rejected=sum(file_report.rejected for file_report in file_reports),
        errors=tuple(row_error for file_report in file_reports for row_error in file_report.errors),
    )
