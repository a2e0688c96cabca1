"""Pairs and labels out of the database, with splits that share no prompt and no text; each file in a new folder."""

import fcntl
import os
import secrets
import shutil
import time
from array import array
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.core.enums import Split
from backend.core.errors import NotFound, UserError
from backend.core.text import digest, strip_white_space
from backend.corpus import collect
from backend.corpus.browse import require_dataset_id
from backend.corpus.collect import DropCounts, ExportRecord, ExportScope
from backend.corpus.formats import SUFFIXES, RecordWriter, open_writer
from backend.corpus.records import ExportReport
from backend.db.tables import Campaign

EXPORTS_FOLDER = "exports"
# Whoever wanted the file has it by then.
RETENTION_S = 24 * 3600.0


def new_export_path(home_folder: Path, file_name: str) -> Path:
    """Where to write a file called `file_name`: in a new folder below HOME/exports. Old ones are removed.

    Raises UserError where no folder can be made.
    """
    exports_folder = home_folder / EXPORTS_FOLDER
    # Of its own, under a name that nobody can guess: exports of the same file name neither meet nor find each other.
    private_folder = exports_folder / secrets.token_hex(16)
    try:
        exports_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with suppress(OSError):  # somebody else's folder stays as it is
            exports_folder.chmod(0o700)
        _remove_outdated(exports_folder)
        private_folder.mkdir(mode=0o700)
    except OSError as error:
        raise UserError(
            f"{exports_folder} cannot be written ({error.strerror}).",
            f"无法写入 {exports_folder}（{error.strerror}）。",
        ) from error
    return private_folder / file_name


def _remove_outdated(exports_folder: Path) -> None:
    for outdated_path in list(exports_folder.iterdir()):
        with suppress(OSError):  # another export may be removing the same one
            if time.time() - outdated_path.lstat().st_mtime < RETENTION_S:
                continue
            if outdated_path.is_dir() and not outdated_path.is_symlink():
                shutil.rmtree(outdated_path, ignore_errors=True)
            else:
                outdated_path.unlink()


def create_exclusively(new_file: Path) -> None:
    """Make an empty file that was not there, readable by others only where its folder is."""
    is_private = new_file.parent.stat().st_mode & 0o077 == 0
    # O_EXCL follows no link: in a folder that others can write, a link of that name could lead to any file.
    os.close(os.open(new_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if is_private else 0o666))


_RECORD_SOURCES = {"pairs": collect.collect_pairs, "labels": collect.collect_labels}
_SPLIT_RANKS = {Split.TRAIN.value: 0, Split.VALIDATION.value: 1, Split.TEST.value: 2}


@dataclass(frozen=True)
class ExportRequest:
    """One export: `content` is "pairs" or "labels", `format_name` a key of SUFFIXES; the rest as in ExportScope."""

    content: str
    format_name: str
    target_path: Path
    dataset: str | None = None
    campaign: str | None = None
    panel: bool = False


def run_export(session: Session, request: ExportRequest) -> ExportReport:
    """See CorpusService.export."""
    _check_request(request)
    if session.get_bind().dialect.name == "postgresql":
        # Both passes below must see the same rows; SQLite's transaction does so by itself.
        session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
    scope = _resolve_scope(session, request)
    highest_ranks = _find_shared_texts(_RECORD_SOURCES[request.content](session, scope, Counter()))
    # Zeros are written down too: a report that does not name a reason could mean that nobody looked for it.
    dropped: DropCounts = Counter(dict.fromkeys(("tie", "no_preference", "contradiction", "leak"), 0))
    if request.content == "labels":
        del dropped["no_preference"]
    else:
        dropped["panel"] = collect.count_judged_pairs(session, scope)
    splits = dict.fromkeys(_SPLIT_RANKS, 0)
    with _open_files(request) as writer_for:
        for record in _RECORD_SOURCES[request.content](session, scope, dropped):
            if _leaks_between_splits(record, highest_ranks):
                dropped["leak"] += 1
            else:
                writer_for(record["split"]).write(record)
                splits[record["split"]] += 1
        # Inside the block, so that the files begun are removed rather than put in place.
        if not any(splits.values()):
            raise _nothing_to_export(request)
    return ExportReport(str(request.target_path), sum(splits.values()), splits, dict(dropped))


def _check_request(request: ExportRequest) -> None:
    for chosen_option, known_options, en, zh in (
        (request.content, _RECORD_SOURCES, "export", "导出内容"),
        (request.format_name, SUFFIXES, "format", "格式"),
    ):
        if chosen_option not in known_options:
            raise UserError(
                f"There is no {en} {chosen_option!r}; there are {', '.join(known_options)}.",
                f"没有“{chosen_option}”这种{zh}，可用的有：{'、'.join(known_options)}。",
            )
    target_folder = request.target_path.absolute().parent
    if not target_folder.is_dir():
        raise UserError(
            f"The folder {target_folder} does not exist; make it or write elsewhere.",
            f"文件夹 {target_folder} 不存在，请先创建，或换一个位置。",
        )
    if request.target_path.exists() and not request.target_path.is_file() and not request.target_path.is_dir():
        raise UserError(
            f"{request.target_path} is a device or a pipe; name a file or a folder.",
            f"{request.target_path} 是设备或管道，请指定文件或文件夹。",
        )


def _resolve_scope(session: Session, request: ExportRequest) -> ExportScope:
    dataset_key = require_dataset_id(session, request.dataset) if request.dataset is not None else None
    campaign_id = None
    if request.campaign is not None:
        campaign_id = session.scalar(select(Campaign.id).where(Campaign.name == request.campaign))
        if campaign_id is None:
            raise NotFound(
                f"There is no campaign called {request.campaign!r}.",
                f"没有名为“{request.campaign}”的标注任务。",
            )
    return ExportScope(dataset_key, request.dataset, campaign_id, request.panel)


def _text_hashes(record: ExportRecord) -> list[int]:
    """Short hashes of the record's greetings, blind to white space."""
    # 64 bits: among a million texts some two are taken for one with a chance of about 3 in 100 million, and the
    # price would be a row left out.
    texts = (record[text_field] for text_field in ("chosen", "rejected", "response") if text_field in record)
    return [int(digest(strip_white_space(greeting_text))[:16], 16) for greeting_text in texts]


def _find_shared_texts(records: Iterator[ExportRecord]) -> dict[int, int]:
    """The texts that occur under prompts of several splits, with the highest of these."""
    import numpy as np

    # Nine bytes a text rather than a dictionary of all of them: a million rows stay under 20 MB.
    hashes, ranks = array("Q"), array("B")
    for record in records:
        for text_hash in _text_hashes(record):
            hashes.append(text_hash)
            ranks.append(_SPLIT_RANKS[record["split"]])
    if not hashes:
        return {}
    texts, text_positions = np.unique(np.frombuffer(hashes, dtype=np.uint64), return_inverse=True)
    rank = np.frombuffer(ranks, dtype=np.uint8)
    # 9 lies above every rank, so that the first text lowers it.
    lowest_ranks, highest_ranks = np.full(len(texts), 9, np.uint8), np.zeros(len(texts), np.uint8)
    np.minimum.at(lowest_ranks, text_positions, rank)
    np.maximum.at(highest_ranks, text_positions, rank)
    return {
        int(texts[text_index]): int(highest_ranks[text_index])
        for text_index in np.flatnonzero(lowest_ranks < highest_ranks)
    }


def _leaks_between_splits(record: ExportRecord, highest_ranks: dict[int, int]) -> bool:
    """Whether one of the texts also stands in a split that evaluates rather than trains more."""
    rank = _SPLIT_RANKS[record["split"]]
    # The copy in training goes and the one in evaluation stays: a figure on fewer test items would be another
    # figure.
    return any(highest_ranks.get(text_hash, rank) > rank for text_hash in _text_hashes(record))


class _ExportFiles:
    """The files of one export: temporary until all are complete."""

    def __init__(self, request: ExportRequest) -> None:
        self._request = request
        self.by_split = request.target_path.is_dir() or not request.target_path.suffix
        self._open_writers: dict[Path, tuple[Path, RecordWriter]] = {}

    def target_file(self, split_name: str) -> Path:
        """The file that rows of the split go to."""
        return (
            self._request.target_path / (split_name + SUFFIXES[self._request.format_name])
            if self.by_split
            else self._request.target_path
        )

    def __call__(self, split_name: str) -> RecordWriter:
        """The writer for rows of the split."""
        target_path = self.target_file(split_name)
        if target_path not in self._open_writers:
            target_path.parent.mkdir(exist_ok=True)
            # In the same folder, because replacing is atomic within one file system only.
            partial_file = target_path.with_name(f".{target_path.name}.{secrets.token_hex(8)}.part")
            create_exclusively(partial_file)
            self._open_writers[target_path] = (
                partial_file,
                open_writer(self._request.format_name, partial_file),
            )
        return self._open_writers[target_path][1]

    def finish(self) -> None:
        """Put the complete files in place; files of splits without rows would be stale, so they go."""
        for partial_file, record_writer in self._open_writers.values():
            record_writer.close()
            with partial_file.open("rb") as binary_file:
                # Without it a power cut after the renaming may leave an empty file under the final name.
                os.fsync(binary_file.fileno())
        with _lock_folder(self._request.target_path) if self.by_split else nullcontext():
            if self.by_split:
                # Else test rows of an earlier export would lie beside the training rows of this one, whose
                # splits may differ.
                for stale_file in {self.target_file(split_name) for split_name in _SPLIT_RANKS} - set(
                    self._open_writers
                ):
                    stale_file.unlink(missing_ok=True)
            for target_path, (partial_file, _) in self._open_writers.items():
                partial_file.replace(target_path)
        self._open_writers = {}

    def abandon(self) -> None:
        """Leave no trace of an export that failed."""
        for partial_file, record_writer in self._open_writers.values():
            # After a full disk closing fails once more, on what could not be written.
            with suppress(OSError, ValueError):
                record_writer.close()
            partial_file.unlink(missing_ok=True)


@contextmanager
def _lock_folder(target_folder: Path) -> Iterator[None]:
    """One export at a time puts its files into the folder, so that they are all of the same export."""
    folder_handle = os.open(target_folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems know no locks
            fcntl.flock(folder_handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder_handle)


@contextmanager
def _open_files(request: ExportRequest) -> Iterator[_ExportFiles]:
    export_files = _ExportFiles(request)
    try:
        yield export_files
        export_files.finish()
    except OSError as error:
        raise UserError(
            f"{request.target_path} cannot be written ({error.strerror}).",
            f"无法写入 {request.target_path}（{error.strerror}）。",
        ) from error
    finally:
        export_files.abandon()


def _nothing_to_export(request: ExportRequest) -> UserError:
    content_names = {"pairs": ("pairs", "偏好对"), "labels": ("labels", "标签")}[request.content]
    return UserError(
        f"There are no {content_names[0]} to export here; annotate or import some first.",
        f"这里还没有可导出的{content_names[1]}，请先标注或导入。",
    )
