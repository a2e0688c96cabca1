"""The data a training program reads: exported from the database once, hashed, never changed. No torch.

HOME/snapshots/<hash>/ holds `sft.jsonl` (prompt, completion), `pairs.jsonl` (prompt, chosen, rejected),
`labels.jsonl` (prompt, greeting, good), `prompts.jsonl` (prompt), every row with its split, and
`manifest.json` with the SHA-256 of each file, the options and what was dropped. No prompt and no greeting
occurs in two splits.
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from backend.core.enums import RaterKind, Source, Split
from backend.core.errors import UserError
from backend.core.files import read_text_file
from backend.core.text import count_characters, digest, strip_white_space
from backend.corpus.browse import require_dataset_id
from backend.corpus.collect import ExportScope, collect_labels, collect_pairs, count_judged_pairs
from backend.db.engine import Database
from backend.db.queries import current_rows
from backend.db.tables import Dataset, DatasetEntry, Greeting, PreferencePair, Prompt, Rater, Verdict
from backend.starter import compose as starter

DataRow = dict[str, Any]
RowsByFile = dict[str, list[DataRow]]

# Goes into the hash, so that a new format never takes a folder of the old one for its own.
FORMAT_REVISION = 1
FILE_NAMES = ("sft", "pairs", "labels", "prompts")
TEXT_FIELDS = ("completion", "chosen", "rejected", "greeting")
# Upper ends of the bins of |length difference| within which longer and shorter choices are balanced.
LENGTH_GAP_BINS = (0, 2, 5, 10, 20, 40)
# Digits of the hash in the name of the folder.
FOLDER_HASH_DIGITS = 16
_HASH_PATTERN = re.compile("[0-9a-f]{6,64}")
_SPLIT_RANKS = {Split.TRAIN: 0, Split.VALIDATION: 1, Split.TEST: 2}
# Any folder can be named, so its manifest is read within bounds.
_MANIFEST_BYTES = 16 << 20


@dataclass(frozen=True)
class SnapshotOptions:
    """What goes in. `datasets` empty means everything that people decided or brought, their votes included.

    Pairs that only a judge labelled go in where their data set is named, or all of them with `panel_pairs`.
    `composed` adds what the starter's writing corpus composes; the database never holds it.
    `test_datasets` are a test set of their own, as published data comes with one: everything else is for training,
    but for what has a request or a text in common with them.
    """

    datasets: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    length_balanced: bool = False
    composed: bool = False
    panel_pairs: bool = False
    test_datasets: tuple[str, ...] = ()

    def as_facts(self) -> dict[str, Any]:
        """As they go into hash and manifest."""
        facts = asdict(self)
        # Left out where empty, so that snapshots without them have the hash that they always had.
        return facts if self.test_datasets else {name: fact for name, fact in facts.items() if name != "test_datasets"}


@dataclass(frozen=True)
class Snapshot:
    """An exported body of data."""

    folder: Path
    manifest: Mapping[str, Any]

    @property
    def hash(self) -> str:
        """SHA-256 over content and options."""
        return str(self.manifest["hash"])

    @cached_property
    def _rows_by_file(self) -> RowsByFile:
        return {file_name: _read_rows(self.folder / f"{file_name}.jsonl") for file_name in FILE_NAMES}

    def rows(self, file_name: str, split: Split) -> list[DataRow]:
        """Rows of "sft", "pairs", "labels" or "prompts" in one split, in a fixed order."""
        return [data_row for data_row in self._rows_by_file[file_name] if data_row["split"] == split]

    def held_out(self, file_name: str) -> tuple[Split, list[DataRow]]:
        """The test rows, or those of validation where there are none."""
        test_rows = self.rows(file_name, Split.TEST)
        return (Split.TEST, test_rows) if test_rows else (Split.VALIDATION, self.rows(file_name, Split.VALIDATION))


def export_snapshot(database: Database, home_folder: Path, options: SnapshotOptions) -> Snapshot:
    """Write the snapshot, or find it where the same was written before. Raises NotFound for a data set."""
    dropped_counts: Counter[str] = Counter()
    with database.read() as session:
        rows_by_file = _collect_rows(session, options, options.datasets, dropped_counts)
        if options.test_datasets:
            rows_by_file = _hold_out_datasets(session, options, rows_by_file, dropped_counts)
        excluded_texts = _excluded_texts(session, options.exclude)
    # Before texts are excluded and splits are kept apart: composed rows hold to both like any other.
    if options.composed:
        rows_by_file["sft"] += starter.build_sft_rows()
        rows_by_file["pairs"] += starter.build_pair_rows()
    rows_by_file = {
        file_name: _exclude_texts(file_rows, excluded_texts, dropped_counts)
        for file_name, file_rows in rows_by_file.items()
    }
    rows_by_file = _keep_one_split(rows_by_file, dropped_counts)
    # Last, since whatever is dropped after balancing would unbalance it again.
    if options.length_balanced:
        rows_by_file["pairs"] = _balance_lengths(rows_by_file["pairs"], dropped_counts)
    return _write_snapshot(
        home_folder,
        {file_name: _sort_unique_rows(file_rows) for file_name, file_rows in rows_by_file.items()},
        options,
        dropped_counts,
    )


def open_snapshot(home_folder: Path, snapshot_name: str) -> Snapshot:
    """A snapshot by its hash (or the start of it) or by its folder. Raises UserError where there is none."""
    candidate_folders = [Path(snapshot_name).expanduser()]
    # Only hexadecimal digits go into the pattern below; a star in a name would find other people's folders.
    if _HASH_PATTERN.fullmatch(snapshot_name):
        candidate_folders += sorted((home_folder / "snapshots").glob(f"{snapshot_name[:FOLDER_HASH_DIGITS]}*"))
    for snapshot_folder in candidate_folders:
        if (snapshot_folder / "manifest.json").is_file():
            return Snapshot(snapshot_folder.resolve(), _load_manifest(snapshot_folder))
    raise UserError(
        f"There is no data snapshot “{snapshot_name}”; give its hash, its folder, or leave the setting empty.",
        f"没有名为“{snapshot_name}”的数据快照，请填写其哈希或文件夹，或留空。",
    )


def _load_manifest(snapshot_folder: Path) -> Mapping[str, Any]:
    """The manifest of a folder that somebody named. Raises UserError for one that Zhufu never wrote."""
    manifest_path = snapshot_folder / "manifest.json"
    try:
        manifest = json.loads(read_text_file(manifest_path, _MANIFEST_BYTES))
    except (ValueError, RecursionError) as error:
        raise _invalid_manifest(manifest_path) from error
    if not isinstance(manifest, dict) or not {"hash", "files"} <= set(manifest):
        raise _invalid_manifest(manifest_path)
    return manifest


def _invalid_manifest(manifest_path: Path) -> UserError:
    return UserError(
        f"{manifest_path} is no manifest of a data snapshot; name another folder.",
        f"{manifest_path} 不是数据快照的清单，请指定其他文件夹。",
    )


def _collect_rows(
    session: Session, options: SnapshotOptions, datasets: Sequence[str], dropped_counts: Counter[str]
) -> RowsByFile:
    named_datasets = [(require_dataset_id(session, dataset_name), dataset_name) for dataset_name in datasets]
    scopes = [
        ExportScope(dataset_id=selected_id, dataset_name=dataset_name) for selected_id, dataset_name in named_datasets
    ] or [ExportScope(panel=options.panel_pairs)]
    # Counted though nobody asked for them: a training that leaves pairs out says how many.
    dropped_counts["panel_pairs"] += sum(count_judged_pairs(session, scope) for scope in scopes)
    pair_rows = [data_row for scope in scopes for data_row in collect_pairs(session, scope, dropped_counts)]
    label_rows = [data_row for scope in scopes for data_row in collect_labels(session, scope, dropped_counts)]
    entry_filter = (
        DatasetEntry.dataset_id.in_([selected_id for selected_id, _ in named_datasets]) if named_datasets else None
    )
    return {
        "sft": _accepted_rows(session, pair_rows, label_rows, entry_filter, dropped_counts),
        "pairs": [_pick_fields(data_row, "prompt", "chosen", "rejected", "split") for data_row in pair_rows],
        "labels": [
            {
                **_pick_fields(data_row, "prompt", "split"),
                "greeting": data_row["response"],
                "good": bool(data_row["label"]),
            }
            for data_row in label_rows
        ],
        "prompts": _prompt_rows(session, entry_filter),
    }


def _hold_out_datasets(
    session: Session, options: SnapshotOptions, rows_by_file: RowsByFile, dropped_counts: Counter[str]
) -> RowsByFile:
    """All rows for training, but for those that share a text with the test data sets, whose rows are the test."""
    test_rows = _collect_rows(session, options, options.test_datasets, dropped_counts)
    test_texts = _excluded_texts(session, options.test_datasets)
    return {
        file_name: [
            *(
                {**data_row, "split": Split.TRAIN.value}
                for data_row in _exclude_texts(file_rows, test_texts, dropped_counts, "in_test_datasets")
            ),
            *({**data_row, "split": Split.TEST.value} for data_row in test_rows[file_name]),
        ]
        for file_name, file_rows in rows_by_file.items()
    }


def _accepted_rows(
    session: Session,
    pair_rows: Sequence[DataRow],
    label_rows: Sequence[DataRow],
    entry_filter: ColumnElement[bool] | None,
    dropped_counts: Counter[str],
) -> list[DataRow]:
    """Chosen, labelled good, or given as an example; never what was also rejected or labelled bad."""
    refused_keys = {_text_key(data_row["prompt"], data_row["rejected"]) for data_row in pair_rows}
    refused_keys |= {
        _text_key(data_row["prompt"], data_row["response"]) for data_row in label_rows if not data_row["label"]
    }
    accepted_texts = [(data_row["prompt"], data_row["chosen"], data_row["split"]) for data_row in pair_rows]
    accepted_texts += [
        (data_row["prompt"], data_row["response"], data_row["split"]) for data_row in label_rows if data_row["label"]
    ]
    accepted_texts += _example_texts(session, entry_filter)
    unique_texts = {
        _text_key(prompt_text, greeting_text): (prompt_text, greeting_text, split)
        for prompt_text, greeting_text, split in accepted_texts
    }
    dropped_counts["accepted_and_refused"] += len(unique_texts.keys() & refused_keys)
    return [
        {"split": split, "prompt": prompt_text, "completion": greeting_text}
        for text_key, (prompt_text, greeting_text, split) in unique_texts.items()
        if text_key not in refused_keys
    ]


def _example_texts(session: Session, entry_filter: ColumnElement[bool] | None) -> list[tuple[str, str, str]]:
    """Imported greetings that their data set neither compares nor labels: given as what to write."""
    example_query = (
        select(DatasetEntry.dataset_id, Greeting.id, Prompt.text, Greeting.text, Prompt.split)
        .join(Greeting, Greeting.id == DatasetEntry.greeting_id)
        .join(Prompt, Prompt.id == Greeting.prompt_id)
        # What a model wrote is no example as long as nobody has accepted it.
        .where(Greeting.source != Source.MODEL)
    )
    example_rows = session.execute(example_query if entry_filter is None else example_query.where(entry_filter)).all()
    judged_entries = _judged_entries(session) if example_rows else set()
    return [
        (prompt_text, greeting_text, split.value)
        for example_dataset_id, greeting_id, prompt_text, greeting_text, split in example_rows
        if (example_dataset_id, greeting_id) not in judged_entries
    ]


def _judged_entries(session: Session) -> set[tuple[int, int]]:
    """Which greetings a data set itself compares or labels."""
    greeting_columns = (PreferencePair.chosen_id, PreferencePair.rejected_id)
    compared_queries = [select(PreferencePair.dataset_id, greeting_column) for greeting_column in greeting_columns]
    labelled_query = (
        select(Dataset.id, Verdict.greeting_id)
        .join(Rater, Rater.id == Verdict.rater_id)
        .join(Dataset, Dataset.name == Rater.name)
        .where(Rater.kind == RaterKind.DATASET, current_rows(Verdict))
    )
    return {
        (entry_row[0], entry_row[1])
        for entry_query in (*compared_queries, labelled_query)
        for entry_row in session.execute(entry_query)
    }


def _prompt_rows(session: Session, entry_filter: ColumnElement[bool] | None) -> list[DataRow]:
    prompt_query = select(Prompt.text, Prompt.split)
    if entry_filter is not None:
        prompt_query = prompt_query.where(Prompt.id.in_(select(DatasetEntry.prompt_id).where(entry_filter)))
    unique_rows = {
        strip_white_space(prompt_text): {"split": split.value, "prompt": prompt_text}
        for prompt_text, split in session.execute(prompt_query)
    }
    return list(unique_rows.values())


def _excluded_texts(session: Session, dataset_names: Sequence[str]) -> set[str]:
    """Requests and greetings of the data sets, without white space."""
    excluded_texts: set[str] = set()
    for dataset_name in dataset_names:
        text_query = (
            select(Prompt.text, Greeting.text)
            .join(DatasetEntry, DatasetEntry.prompt_id == Prompt.id)
            .outerjoin(Greeting, Greeting.id == DatasetEntry.greeting_id)
            .where(DatasetEntry.dataset_id == require_dataset_id(session, dataset_name))
        )
        excluded_texts |= {
            strip_white_space(cell_text)
            for text_row in session.execute(text_query)
            for cell_text in text_row
            if cell_text
        }
    return excluded_texts


def _exclude_texts(
    data_rows: list[DataRow], excluded_texts: set[str], dropped_counts: Counter[str], reason: str = "excluded"
) -> list[DataRow]:
    remaining_rows = [
        data_row
        for data_row in data_rows
        if not excluded_texts.intersection(strip_white_space(row_text) for row_text in _row_texts(data_row))
    ]
    dropped_counts[reason] += len(data_rows) - len(remaining_rows)
    return remaining_rows


def _keep_one_split(rows_by_file: RowsByFile, dropped_counts: Counter[str]) -> RowsByFile:
    """A greeting that stands under requests of two splits stays only in the one further from training."""
    split_ranks: dict[str, int] = {}
    for data_row in _iterate_rows(rows_by_file.values()):
        for greeting_text in _greeting_texts(data_row):
            split_ranks[greeting_text] = max(split_ranks.get(greeting_text, 0), _SPLIT_RANKS[Split(data_row["split"])])
    remaining_rows: RowsByFile = {}
    for file_name, file_rows in rows_by_file.items():
        remaining_rows[file_name] = [
            data_row
            for data_row in file_rows
            if all(
                split_ranks[greeting_text] == _SPLIT_RANKS[Split(data_row["split"])]
                for greeting_text in _greeting_texts(data_row)
            )
        ]
        dropped_counts["text_in_two_splits"] += len(file_rows) - len(remaining_rows[file_name])
    return remaining_rows


def _balance_lengths(pair_rows: list[DataRow], dropped_counts: Counter[str]) -> list[DataRow]:
    """Of each bin of |difference| as many pairs whose choice is longer as pairs whose choice is shorter."""
    pair_bins: dict[tuple[str, int], dict[bool, list[DataRow]]] = {}
    balanced_pairs: list[DataRow] = []
    # By hash, so that which pairs fall out hangs neither on ids nor on the order of import.
    for pair_row in sorted(
        pair_rows, key=lambda pair_row: digest(pair_row["prompt"], pair_row["chosen"], pair_row["rejected"])
    ):
        length_gap = count_characters(pair_row["chosen"]) - count_characters(pair_row["rejected"])
        # Equal lengths say nothing about length and need no counterpart.
        if length_gap == 0:
            balanced_pairs.append(pair_row)
        else:
            bin_key = (pair_row["split"], sum(abs(length_gap) > bin_end for bin_end in LENGTH_GAP_BINS))
            pair_bins.setdefault(bin_key, {True: [], False: []})[length_gap > 0].append(pair_row)
    for pairs_by_direction in pair_bins.values():
        balanced_size = min(map(len, pairs_by_direction.values()))
        balanced_pairs += pairs_by_direction[True][:balanced_size] + pairs_by_direction[False][:balanced_size]
    dropped_counts["length_unbalanced"] += len(pair_rows) - len(balanced_pairs)
    return balanced_pairs


def _write_snapshot(
    home_folder: Path, rows_by_file: RowsByFile, options: SnapshotOptions, dropped_counts: Counter[str]
) -> Snapshot:
    file_contents = {
        entry_name: "".join(_format_row(data_row) for data_row in rows_by_file[entry_name]).encode()
        for entry_name in FILE_NAMES
    }
    file_hashes = {
        entry_name: {"sha256": hashlib.sha256(file_content).hexdigest()}
        for entry_name, file_content in file_contents.items()
    }
    hash_input = json.dumps([FORMAT_REVISION, options.as_facts(), file_hashes], ensure_ascii=False, sort_keys=True)
    manifest: dict[str, Any] = {
        "revision": FORMAT_REVISION,
        "hash": digest(hash_input),
        "options": options.as_facts(),
        "dropped": {
            entry_name: dropped_count for entry_name, dropped_count in sorted(dropped_counts.items()) if dropped_count
        },
        "files": {
            entry_name: {
                **file_hashes[entry_name],
                "rows": {split.value: _count_split_rows(rows_by_file[entry_name], split) for split in Split},
            }
            for entry_name in FILE_NAMES
        },
    }
    snapshot_folder = home_folder.resolve() / "snapshots" / manifest["hash"][:FOLDER_HASH_DIGITS]
    if not (snapshot_folder / "manifest.json").is_file():
        file_contents |= {"manifest": json.dumps(manifest, ensure_ascii=False, indent=1).encode()}
        _place_folder(snapshot_folder, file_contents)
    return Snapshot(snapshot_folder, json.loads((snapshot_folder / "manifest.json").read_text("utf-8")))


def _place_folder(snapshot_folder: Path, file_contents: Mapping[str, bytes]) -> None:
    """All files or none, also where two programs export the same at the same time."""
    snapshot_folder.parent.mkdir(parents=True, exist_ok=True)
    draft_folder = Path(tempfile.mkdtemp(prefix=".new-", dir=snapshot_folder.parent))
    try:
        for file_name, file_content in file_contents.items():
            (draft_folder / (f"{file_name}.json" if file_name == "manifest" else f"{file_name}.jsonl")).write_bytes(
                file_content
            )
        draft_folder.chmod(0o755)
        os.rename(draft_folder, snapshot_folder)
    # Another program was faster: the rename meets a full folder, and what is there has the same hash.
    except OSError:
        shutil.rmtree(draft_folder, ignore_errors=True)
        if not (snapshot_folder / "manifest.json").is_file():
            raise


def _sort_unique_rows(data_rows: list[DataRow]) -> list[DataRow]:
    rows_by_line = {_format_row(data_row): data_row for data_row in data_rows}
    return [rows_by_line[row_line] for row_line in sorted(rows_by_line)]


def _count_split_rows(data_rows: list[DataRow], split: Split) -> int:
    return sum(data_row["split"] == split for data_row in data_rows)


def _format_row(data_row: DataRow) -> str:
    return json.dumps(data_row, ensure_ascii=False, sort_keys=True) + "\n"


def _read_rows(file_path: Path) -> list[DataRow]:
    if not file_path.is_file():
        return []
    return [json.loads(json_line) for json_line in file_path.read_text("utf-8").split("\n") if json_line]


def _text_key(prompt_text: str, greeting_text: str) -> tuple[str, str]:
    return strip_white_space(prompt_text), strip_white_space(greeting_text)


def _pick_fields(data_row: DataRow, *names: str) -> DataRow:
    return {field_name: data_row[field_name] for field_name in names}


def _greeting_texts(data_row: DataRow) -> list[str]:
    return [strip_white_space(data_row[field_name]) for field_name in TEXT_FIELDS if field_name in data_row]


def _row_texts(data_row: DataRow) -> list[str]:
    return [
        data_row["prompt"],
        *(data_row[field_name] for field_name in TEXT_FIELDS if field_name in data_row),
    ]


def _iterate_rows(row_groups: Iterable[list[DataRow]]) -> Iterable[DataRow]:
    for row_group in row_groups:
        yield from row_group
