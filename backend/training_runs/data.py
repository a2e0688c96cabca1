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

from backend.corpus.browse import current_verdict, dataset_id
from backend.corpus.collect import Scope, judged_pairs, labels, pairs
from backend.db.engine import Database
from backend.db.tables import Dataset, DatasetEntry, Greeting, PreferencePair, Prompt, Rater, Verdict
from backend.errors import UserError
from backend.files import read_text_file
from backend.starter import rows as starter
from backend.text import digest, length, squeeze
from backend.vocabulary import RaterKind, Source, Split

Row = dict[str, Any]
Rows = dict[str, list[Row]]

REVISION = 1
FILES = ("sft", "pairs", "labels", "prompts")
TEXTS = ("completion", "chosen", "rejected", "greeting")
BINS = (0, 2, 5, 10, 20, 40)
"""Upper ends of the bins of |length difference| within which longer and shorter choices are balanced."""
NAMED = 16
"""Digits of the hash in the name of the folder."""
_HASH = re.compile("[0-9a-f]{6,64}")
_RANK = {Split.TRAIN: 0, Split.VALIDATION: 1, Split.TEST: 2}
_MANIFEST_BYTES = 16 << 20


@dataclass(frozen=True)
class SnapshotOptions:
    """What goes in. `datasets` empty means everything that people decided or brought, their votes included.

    Pairs that only a judge labelled go in where their data set is named, or all of them with `panel_pairs`.
    `composed` adds what the starter's writing corpus composes; the database never holds it.
    """

    datasets: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    length_balanced: bool = False
    composed: bool = False
    panel_pairs: bool = False


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
    def _rows(self) -> Rows:
        return {name: _read(self.folder / f"{name}.jsonl") for name in FILES}

    def rows(self, name: str, split: Split) -> list[Row]:
        """Rows of "sft", "pairs", "labels" or "prompts" in one split, in a fixed order."""
        return [row for row in self._rows[name] if row["split"] == split]

    def held_out(self, name: str) -> tuple[Split, list[Row]]:
        """The test rows, or those of validation where there are none."""
        rows = self.rows(name, Split.TEST)
        return (Split.TEST, rows) if rows else (Split.VALIDATION, self.rows(name, Split.VALIDATION))


def export_snapshot(database: Database, home: Path, options: SnapshotOptions) -> Snapshot:
    """Write the snapshot, or find it where the same was written before. Raises NotFound for a data set."""
    dropped: Counter[str] = Counter()
    with database.read() as session:
        rows = _collect(session, options, dropped)
        outside = _outside(session, options.exclude)
    if options.composed:
        rows["sft"] += starter.sft_rows()
        rows["pairs"] += starter.pair_rows()
    rows = {name: _without(each, outside, dropped) for name, each in rows.items()}
    rows = _one_split_each(rows, dropped)
    if options.length_balanced:
        rows["pairs"] = _balanced(rows["pairs"], dropped)
    return _write(home, {name: _ordered(each) for name, each in rows.items()}, options, dropped)


def open_snapshot(home: Path, name: str) -> Snapshot:
    """A snapshot by its hash (or the start of it) or by its folder. Raises UserError where there is none."""
    candidates = [Path(name).expanduser()]
    if _HASH.fullmatch(name):
        candidates += sorted((home / "snapshots").glob(f"{name[:NAMED]}*"))
    for folder in candidates:
        if (folder / "manifest.json").is_file():
            return Snapshot(folder.resolve(), _manifest(folder))
    raise UserError(
        f"There is no data snapshot “{name}”; give its hash, its folder, or leave the setting empty.",
        f"没有名为“{name}”的数据快照，请填写其哈希或文件夹，或留空。",
    )


def _manifest(folder: Path) -> Mapping[str, Any]:
    """The manifest of a folder that somebody named. Raises UserError for one that Zhufu never wrote."""
    path = folder / "manifest.json"
    try:
        found = json.loads(read_text_file(path, _MANIFEST_BYTES))
    except (ValueError, RecursionError) as error:
        raise _no_manifest(path) from error
    if not isinstance(found, dict) or not {"hash", "files"} <= set(found):
        raise _no_manifest(path)
    return found


def _no_manifest(path: Path) -> UserError:
    return UserError(
        f"{path} is no manifest of a data snapshot; name another folder.",
        f"{path} 不是数据快照的清单，请指定其他文件夹。",
    )


def _collect(session: Session, options: SnapshotOptions, dropped: Counter[str]) -> Rows:
    ids = [(dataset_id(session, name), name) for name in options.datasets]
    scopes = [Scope(dataset_id=id_, dataset=name) for id_, name in ids] or [Scope(panel=options.panel_pairs)]
    dropped["panel_pairs"] += sum(judged_pairs(session, scope) for scope in scopes)
    pair_rows = [row for scope in scopes for row in pairs(session, scope, dropped)]
    label_rows = [row for scope in scopes for row in labels(session, scope, dropped)]
    members = DatasetEntry.dataset_id.in_([id_ for id_, _ in ids]) if ids else None
    return {
        "sft": _accepted(session, pair_rows, label_rows, members, dropped),
        "pairs": [_pick(row, "prompt", "chosen", "rejected", "split") for row in pair_rows],
        "labels": [
            {**_pick(row, "prompt", "split"), "greeting": row["response"], "good": bool(row["label"])}
            for row in label_rows
        ],
        "prompts": _prompts(session, members),
    }


def _accepted(
    session: Session,
    pair_rows: Sequence[Row],
    label_rows: Sequence[Row],
    members: ColumnElement[bool] | None,
    dropped: Counter[str],
) -> list[Row]:
    """Chosen, labelled good, or given as an example; never what was also rejected or labelled bad."""
    refused = {_key(row["prompt"], row["rejected"]) for row in pair_rows}
    refused |= {_key(row["prompt"], row["response"]) for row in label_rows if not row["label"]}
    found = [(row["prompt"], row["chosen"], row["split"]) for row in pair_rows]
    found += [(row["prompt"], row["response"], row["split"]) for row in label_rows if row["label"]]
    found += _examples(session, members)
    unique = {_key(prompt, text): (prompt, text, split) for prompt, text, split in found}
    dropped["accepted_and_refused"] += len(unique.keys() & refused)
    return [
        {"split": split, "prompt": prompt, "completion": text}
        for key, (prompt, text, split) in unique.items()
        if key not in refused
    ]


def _examples(session: Session, members: ColumnElement[bool] | None) -> list[tuple[str, str, str]]:
    """Imported greetings that their data set neither compares nor labels: given as what to write."""
    query = (
        select(DatasetEntry.dataset_id, Greeting.id, Prompt.text, Greeting.text, Prompt.split)
        .join(Greeting, Greeting.id == DatasetEntry.greeting_id)
        .join(Prompt, Prompt.id == Greeting.prompt_id)
        .where(Greeting.source != Source.MODEL)
    )
    rows = session.execute(query if members is None else query.where(members)).all()
    told = _told(session) if rows else set()
    return [
        (prompt, text, split.value)
        for dataset, greeting, prompt, text, split in rows
        if (dataset, greeting) not in told
    ]


def _told(session: Session) -> set[tuple[int, int]]:
    """Which greetings a data set itself compares or labels."""
    pair_sides = (PreferencePair.chosen_id, PreferencePair.rejected_id)
    compared = [select(PreferencePair.dataset_id, side) for side in pair_sides]
    labelled = (
        select(Dataset.id, Verdict.greeting_id)
        .join(Rater, Rater.id == Verdict.rater_id)
        .join(Dataset, Dataset.name == Rater.name)
        .where(Rater.kind == RaterKind.DATASET, current_verdict())
    )
    return {(row[0], row[1]) for query in (*compared, labelled) for row in session.execute(query)}


def _prompts(session: Session, members: ColumnElement[bool] | None) -> list[Row]:
    query = select(Prompt.text, Prompt.split)
    if members is not None:
        query = query.where(Prompt.id.in_(select(DatasetEntry.prompt_id).where(members)))
    unique = {squeeze(text): {"split": split.value, "prompt": text} for text, split in session.execute(query)}
    return list(unique.values())


def _outside(session: Session, names: Sequence[str]) -> set[str]:
    """Requests and greetings of the data sets, without white space."""
    found: set[str] = set()
    for name in names:
        query = (
            select(Prompt.text, Greeting.text)
            .join(DatasetEntry, DatasetEntry.prompt_id == Prompt.id)
            .outerjoin(Greeting, Greeting.id == DatasetEntry.greeting_id)
            .where(DatasetEntry.dataset_id == dataset_id(session, name))
        )
        found |= {squeeze(text) for row in session.execute(query) for text in row if text}
    return found


def _without(rows: list[Row], outside: set[str], dropped: Counter[str]) -> list[Row]:
    kept = [row for row in rows if not outside.intersection(squeeze(text) for text in _texts(row))]
    dropped["excluded"] += len(rows) - len(kept)
    return kept


def _one_split_each(rows: Rows, dropped: Counter[str]) -> Rows:
    """A greeting that stands under requests of two splits stays only in the one further from training."""
    home: dict[str, int] = {}
    for row in _every(rows.values()):
        for text in _greetings(row):
            home[text] = max(home.get(text, 0), _RANK[Split(row["split"])])
    kept: Rows = {}
    for name, each in rows.items():
        kept[name] = [
            row for row in each if all(home[text] == _RANK[Split(row["split"])] for text in _greetings(row))
        ]
        dropped["text_in_two_splits"] += len(each) - len(kept[name])
    return kept


def _balanced(rows: list[Row], dropped: Counter[str]) -> list[Row]:
    """Of each bin of |difference| as many pairs whose choice is longer as pairs whose choice is shorter."""
    bins: dict[tuple[str, int], dict[bool, list[Row]]] = {}
    kept: list[Row] = []
    for row in sorted(rows, key=lambda row: digest(row["prompt"], row["chosen"], row["rejected"])):
        gap = length(row["chosen"]) - length(row["rejected"])
        if gap == 0:
            kept.append(row)
        else:
            place = (row["split"], sum(abs(gap) > end for end in BINS))
            bins.setdefault(place, {True: [], False: []})[gap > 0].append(row)
    for sides in bins.values():
        size = min(map(len, sides.values()))
        kept += sides[True][:size] + sides[False][:size]
    dropped["length_unbalanced"] += len(rows) - len(kept)
    return kept


def _write(home: Path, rows: Rows, options: SnapshotOptions, dropped: Counter[str]) -> Snapshot:
    texts = {name: "".join(_line(row) for row in rows[name]).encode() for name in FILES}
    files = {name: {"sha256": hashlib.sha256(text).hexdigest()} for name, text in texts.items()}
    named = json.dumps([REVISION, asdict(options), files], ensure_ascii=False, sort_keys=True)
    manifest: dict[str, Any] = {
        "revision": REVISION,
        "hash": digest(named),
        "options": asdict(options),
        "dropped": {name: count for name, count in sorted(dropped.items()) if count},
        "files": {
            name: {**files[name], "rows": {split.value: _count(rows[name], split) for split in Split}}
            for name in FILES
        },
    }
    folder = home.resolve() / "snapshots" / manifest["hash"][:NAMED]
    if not (folder / "manifest.json").is_file():
        texts |= {"manifest": json.dumps(manifest, ensure_ascii=False, indent=1).encode()}
        _place(folder, texts)
    return Snapshot(folder, json.loads((folder / "manifest.json").read_text("utf-8")))


def _place(folder: Path, texts: Mapping[str, bytes]) -> None:
    """All files or none, also where two programs export the same at the same time."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".new-", dir=folder.parent))
    try:
        for name, text in texts.items():
            (draft / (f"{name}.json" if name == "manifest" else f"{name}.jsonl")).write_bytes(text)
        draft.chmod(0o755)
        os.rename(draft, folder)
    except OSError:
        shutil.rmtree(draft, ignore_errors=True)
        if not (folder / "manifest.json").is_file():
            raise


def _ordered(rows: list[Row]) -> list[Row]:
    unique = {_line(row): row for row in rows}
    return [unique[line] for line in sorted(unique)]


def _count(rows: list[Row], split: Split) -> int:
    return sum(row["split"] == split for row in rows)


def _line(row: Row) -> str:
    return json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n"


def _read(path: Path) -> list[Row]:
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]


def _key(prompt: str, text: str) -> tuple[str, str]:
    return squeeze(prompt), squeeze(text)


def _pick(row: Row, *names: str) -> Row:
    return {name: row[name] for name in names}


def _greetings(row: Row) -> list[str]:
    return [squeeze(row[name]) for name in TEXTS if name in row]


def _texts(row: Row) -> list[str]:
    return [row["prompt"], *(row[name] for name in TEXTS if name in row)]


def _every(groups: Iterable[list[Row]]) -> Iterable[Row]:
    for group in groups:
        yield from group
