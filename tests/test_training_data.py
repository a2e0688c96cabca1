"""The snapshot: what goes in, what stays out, and that nothing is in two splits."""

import hashlib
import json
from pathlib import Path

import pytest

from backend.core.enums import Split
from backend.core.errors import NotFound, UserError
from backend.core.text import assign_split, count_characters, strip_white_space
from backend.corpus.service import CorpusService
from backend.db.engine import Database
from backend.training.snapshot import Snapshot, SnapshotOptions, export_snapshot, open_snapshot

pytestmark = pytest.mark.database


def of_split(split: Split, number: int = 0) -> str:
    """A request that falls into the split."""
    return [text for i in range(500) if assign_split(text := f"给第{i}位朋友的生日祝福") == split][number]


def bring_in(database: Database, folder: Path, name: str, rows: list[dict[str, object]]) -> None:
    file = folder / f"{name}.json"
    file.write_text(json.dumps(rows, ensure_ascii=False), "utf-8")
    CorpusService(database).import_file(file, dataset=name)


def pair(prompt: str, chosen: str, rejected: str) -> dict[str, object]:
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def texts(snapshot: Snapshot, split: Split) -> set[str]:
    fields = ("completion", "chosen", "rejected", "greeting")
    rows = [row for name in ("sft", "pairs", "labels") for row in snapshot.rows(name, split)]
    return {strip_white_space(row[field]) for row in rows for field in fields if field in row}


def test_what_is_accepted(database: Database, home: Path, tmp_path: Path) -> None:
    train = of_split(Split.TRAIN)
    bring_in(database, tmp_path, "pairs", [pair(train, "好甲", "坏甲"), pair(train, "两可", "坏乙")])
    label = [{"query": train, "response": text, "label": good} for text, good in (("好乙", 1), ("两可", 0))]
    bring_in(database, tmp_path, "labels", label)
    example = [{"instruction": train, "input": "", "output": text} for text in ("好丙", "好甲", "坏甲")]
    bring_in(database, tmp_path, "examples", example)
    found = export_snapshot(database, home, SnapshotOptions())
    assert {row["completion"] for row in found.rows("sft", Split.TRAIN)} == {"好甲", "好乙", "好丙"}
    assert found.manifest["dropped"] == {"accepted_and_refused": 2}
    only = export_snapshot(database, home, SnapshotOptions(datasets=("examples",)))
    assert {row["completion"] for row in only.rows("sft", Split.TRAIN)} == {"好丙", "好甲", "坏甲"}
    assert only.rows("pairs", Split.TRAIN) == []
    with pytest.raises(NotFound):
        export_snapshot(database, home, SnapshotOptions(datasets=("nothing",)))


def test_nothing_is_in_two_splits(database: Database, home: Path, tmp_path: Path) -> None:
    train, test = of_split(Split.TRAIN), of_split(Split.TEST)
    rows = [pair(train, "到处都有", "坏"), pair(train, "只在这里", "更坏"), pair(test, "到处都有", "差")]
    bring_in(database, tmp_path, "pairs", rows)
    found = export_snapshot(database, home, SnapshotOptions())
    assert [row["chosen"] for row in found.rows("pairs", Split.TRAIN)] == ["只在这里"]
    assert [row["chosen"] for row in found.rows("pairs", Split.TEST)] == ["到处都有"]
    assert found.manifest["dropped"]["text_in_two_splits"] == 2


def test_seed_corpus_splits_are_disjoint(database: Database, home: Path) -> None:
    CorpusService(database).load_seed()
    found = export_snapshot(database, home, SnapshotOptions())
    for name in ("sft", "pairs", "labels", "prompts"):
        prompts = [{strip_white_space(row["prompt"]) for row in found.rows(name, split)} for split in Split]
        assert all(prompts) and not prompts[0] & prompts[1] | prompts[0] & prompts[2] | prompts[1] & prompts[2]
    greetings = [texts(found, split) for split in Split]
    assert not greetings[0] & greetings[1] | greetings[0] & greetings[2] | greetings[1] & greetings[2]


def test_reference_sets_are_kept_out(database: Database, home: Path, tmp_path: Path) -> None:
    seen, other = of_split(Split.TRAIN, 0), of_split(Split.TRAIN, 1)
    rows = [pair(seen, "甲", "乙"), pair(other, "丙", "丁 "), pair(other, "戊", "己")]
    bring_in(database, tmp_path, "pairs", rows)
    label = [
        {"query": seen, "response": "别的", "label": 1},
        {"query": "另一个请求", "response": "丁", "label": 0},
    ]
    bring_in(database, tmp_path, "gold", label)
    found = export_snapshot(database, home, SnapshotOptions(exclude=("gold",)))
    assert [row["chosen"] for row in found.rows("pairs", Split.TRAIN)] == ["戊"]
    assert seen not in {row["prompt"] for row in found.rows("prompts", Split.TRAIN)}
    assert found.rows("labels", Split.TRAIN) == []


def test_published_data_keep_their_own_test_set(database: Database, home: Path, tmp_path: Path) -> None:
    prompts = {split: of_split(split) for split in Split}
    shared = of_split(Split.TRAIN, 1)
    bring_in(database, tmp_path, "train", [pair(p, f"好{s}", f"坏{s}") for s, p in prompts.items()])
    bring_in(database, tmp_path, "more", [pair(shared, "好甲", "坏甲"), pair(of_split(Split.TRAIN, 2), "好乙", "坏丙")])
    bring_in(database, tmp_path, "test", [pair(shared, "好乙", "坏乙")])
    by_hash = export_snapshot(database, home, SnapshotOptions(datasets=("train",)))
    assert [len(by_hash.rows("pairs", split)) for split in Split] == [1, 1, 1]
    own = SnapshotOptions(datasets=("train", "more"), test_datasets=("test",))
    found = export_snapshot(database, home, own)
    assert {row["prompt"] for row in found.rows("pairs", Split.TRAIN)} == set(prompts.values()), (
        "all that are not the test's"
    )
    assert [row["chosen"] for row in found.rows("pairs", Split.TEST)] == ["好乙"]
    assert {row["prompt"] for row in found.rows("prompts", Split.TEST)} == {shared}
    assert found.held_out("prompts")[0] is Split.TEST and not found.rows("pairs", Split.VALIDATION)
    assert found.manifest["dropped"]["in_test_datasets"] == 5, "a pair and its text and request, a text elsewhere"
    assert found.manifest["options"]["test_datasets"] == ("test",) or found.manifest["options"]["test_datasets"] == [
        "test"
    ]
    assert "test_datasets" not in by_hash.manifest["options"], "so that the hash is what it always was"


def test_the_writing_corpus_goes_into_the_snapshot_and_nowhere_else(database: Database, home: Path) -> None:
    corpus = CorpusService(database)
    corpus.load_seed()
    before, plain = corpus.counts(), export_snapshot(database, home, SnapshotOptions())
    found = export_snapshot(database, home, SnapshotOptions(composed=True))
    assert corpus.counts() == before and found.hash != plain.hash
    added = {
        name: sum(len(found.rows(name, split)) - len(plain.rows(name, split)) for split in Split)
        for name in ("sft", "pairs", "labels", "prompts")
    }
    assert added["sft"] > 6_000 and added["pairs"] > 1_000 and added["labels"] == added["prompts"] == 0
    by_split = [texts(found, split) for split in Split]
    assert not by_split[0] & (by_split[1] | by_split[2]) and not by_split[1] & by_split[2]
    made = [row for split in Split for row in found.rows("pairs", split) if row.get("origin") == "composed"]
    assert len(made) == added["pairs"]
    assert all(assign_split(row["prompt"]).value == row["split"] for row in made)


def test_length_says_nothing_in_balanced_pairs(database: Database, home: Path) -> None:
    CorpusService(database).load_seed()
    found = export_snapshot(database, home, SnapshotOptions(length_balanced=True))
    for split in Split:
        gaps = [
            count_characters(row["chosen"]) - count_characters(row["rejected"]) for row in found.rows("pairs", split)
        ]
        points = [0.5 if gap == 0 else float(gap > 0) for gap in gaps]
        assert sum(points) == len(points) / 2
        assert abs(sum(gaps)) / len(gaps) < 3
    kept = sum(found.manifest["files"]["pairs"]["rows"].values())
    assert found.manifest["dropped"]["length_unbalanced"] == 660 - kept > 0


def test_hash_is_stable_and_files_are_what_the_manifest_says(database: Database, home: Path, tmp_path: Path) -> None:
    CorpusService(database).load_seed()
    found = export_snapshot(database, home, SnapshotOptions())
    assert export_snapshot(database, home, SnapshotOptions()) == found
    assert export_snapshot(database, tmp_path, SnapshotOptions()).manifest == found.manifest
    for name, facts in found.manifest["files"].items():
        content = (found.folder / f"{name}.jsonl").read_bytes()
        assert hashlib.sha256(content).hexdigest() == facts["sha256"]
    assert open_snapshot(home, found.hash[:16]) == open_snapshot(home, str(found.folder)) == found
    with pytest.raises(UserError, match="no data snapshot"):
        open_snapshot(home, "nothing")
    bring_in(database, tmp_path, "more", [pair(of_split(Split.TRAIN), "甲", "乙")])
    assert export_snapshot(database, home, SnapshotOptions()).hash != found.hash
    assert sorted(path.name[:4] for path in (home / "snapshots").iterdir()) == sorted(
        {found.hash[:4], export_snapshot(database, home, SnapshotOptions()).hash[:4]}
    )


@pytest.mark.parametrize("text", ["", "[", "[1]", "{}", "[" * 100_000, "x" * (17 << 20)])
def test_a_folder_that_holds_no_snapshot(home: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text, "utf-8")
    with pytest.raises(UserError, match=r"no manifest of a data snapshot|too many for this"):
        open_snapshot(home, str(tmp_path))
