"""What goes out: complete, without leaks, and the same again when it comes back."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from backend.core.enums import CampaignKind, Outcome, RaterKind, Scale, Split
from backend.core.errors import NotFound, UserError
from backend.core.text import assign_split
from backend.corpus.service import CorpusService
from backend.db.engine import Database
from backend.db.migrate import migrate
from backend.db.tables import Campaign, Comparison, Greeting, Item, Rater, Verdict
from tests import corpus_files as files

pytestmark = pytest.mark.database

FORMATS = ("trl", "sharegpt", "csv", "parquet")
A, B, GOOD, BAD, SKIP, GONE = (
    Outcome.A,
    Outcome.B,
    Outcome.BOTH_GOOD,
    Outcome.BOTH_BAD,
    Outcome.SKIP,
    Outcome.WITHDRAWN,
)
NASTY = [
    '他说："生日快乐"，然后\n笑了',
    "=SUM(A1:A9) 祝你一路发",
    "+86 祝福到",
    "-5°C 也要暖",
    "@所有人 新年好",
    "'=带撇号",
    "''单引号",
    "逗号,分号;制表\t好",
    "🎂👨‍👩‍👧 生日快乐",
    "null",
    "[1, 2]",
    "{好}",
]


@pytest.fixture
def corpus(database: Database) -> CorpusService:
    return CorpusService(database)


def other_home(path: Path) -> Database:
    made = Database(f"sqlite:///{path / 'other.db'}")
    migrate(made)
    return made


def prompt_in(split: Split, number: int = 0) -> str:
    """The n-th made-up request that falls into the split."""
    found = (f"第{n}个请求" for n in range(10_000) if assign_split(f"第{n}个请求") == split)
    return next(text for place, text in enumerate(found) if place == number)


def nasty_pairs() -> list[dict[str, Any]]:
    tags = {"flaw": "stiff", "occasion": "生日", "recipient": "朋友", "style": "口语"}
    rows: list[dict[str, Any]] = [{"prompt": f"{text} 请", "chosen": text, "rejected": f"{text}差"} for text in NASTY]
    return [{**row, **tags} if place % 2 else row for place, row in enumerate(rows)]


def nasty_labels() -> list[dict[str, Any]]:
    return [
        {"query": f"{text} 请", "response": text, "label": place % 2, "reason": "" if place % 2 else "太平"}
        for place, text in enumerate(NASTY)
    ]


@pytest.mark.parametrize("folder", [False, True])
@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("what", ["pairs", "labels"])
def test_what_goes_out_comes_in_unchanged(
    corpus: CorpusService, database: Database, tmp_path: Path, what: str, fmt: str, folder: bool
) -> None:
    rows = nasty_pairs() if what == "pairs" else nasty_labels()
    corpus.import_file(files.json_lines(tmp_path / "in.jsonl", rows))
    out = tmp_path / ("out" if folder else "out.file")
    report = corpus.export(what, fmt, out)
    assert report.rows == len(NASTY) == sum(report.splits.values())
    assert not any(report.dropped.values())
    written = sorted(out.iterdir()) if folder else [out]
    assert len(written) == (sum(map(bool, report.splits.values())) if folder else 1)
    other = other_home(tmp_path)
    for path in written:
        again = CorpusService(other).import_file(path, dataset="back")
        assert again.added == again.read > 0
    for look in (files.prompts, files.texts, files.pairs, files.labels):
        assert look(other) == look(database), look.__name__
    other.close()


def test_the_formats_look_as_their_readers_expect(corpus: CorpusService, tmp_path: Path) -> None:
    row = {"prompt": "请", "chosen": "=甲", "rejected": "乙", "flaw": "stiff"}
    corpus.import_file(files.json_lines(tmp_path / "in.jsonl", [row]))
    rest = {"flaw": "stiff", "occasion": None, "recipient": None, "style": None, "split": "train"}
    for fmt in FORMATS:
        corpus.export("pairs", fmt, tmp_path / f"x.{fmt}")
    assert json.loads((tmp_path / "x.trl").read_text("utf-8")) == {
        "prompt": [{"role": "user", "content": "请"}],
        "chosen": [{"role": "assistant", "content": "=甲"}],
        "rejected": [{"role": "assistant", "content": "乙"}],
        **rest,
    }
    assert json.loads((tmp_path / "x.sharegpt").read_text("utf-8")) == [
        {
            "conversations": [{"from": "human", "value": "请"}],
            "chosen": {"from": "gpt", "value": "=甲"},
            "rejected": {"from": "gpt", "value": "乙"},
            **rest,
        }
    ]
    raw = (tmp_path / "x.csv").read_text("utf-8-sig").splitlines()
    assert list(csv.reader(raw)) == [
        ["prompt", "chosen", "rejected", "flaw", "occasion", "recipient", "style", "split"],
        ["请", "'=甲", "乙", "stiff", "", "", "", "train"],
    ]


def test_unpaired_trl_labels(corpus: CorpusService, tmp_path: Path) -> None:
    corpus.import_file(files.json_lines(tmp_path / "in", [files.GOOD]))
    corpus.export("labels", "trl", tmp_path / "x.jsonl")
    row = json.loads((tmp_path / "x.jsonl").read_text("utf-8"))
    assert row["prompt"] == [{"role": "user", "content": files.GOOD["query"]}]
    assert row["completion"] == [{"role": "assistant", "content": files.GOOD["response"]}]
    assert row["label"] is True


def test_folders_hold_one_file_a_split_and_nothing_stale(corpus: CorpusService, tmp_path: Path) -> None:
    rows = [
        {"prompt": prompt_in(split), "chosen": f"{split}好", "rejected": f"{split}差"}
        for split in (Split.TRAIN, Split.TEST)
    ]
    corpus.import_file(files.json_lines(tmp_path / "in", rows))
    out = tmp_path / "out"
    out.mkdir()
    (out / "validation.jsonl").write_text("from an older export", "utf-8")
    (out / "notes.txt").write_text("mine", "utf-8")
    report = corpus.export("pairs", "trl", out)
    assert report.splits == {"train": 1, "validation": 0, "test": 1}
    assert sorted(path.name for path in out.iterdir()) == ["notes.txt", "test.jsonl", "train.jsonl"]
    assert json.loads((out / "test.jsonl").read_text("utf-8"))["split"] == "test"


def test_a_text_in_several_splits_stays_in_the_most_guarded(corpus: CorpusService, tmp_path: Path) -> None:
    train, validation, test = (prompt_in(split) for split in (Split.TRAIN, Split.VALIDATION, Split.TEST))
    rows = [
        {"prompt": train, "chosen": "共 用", "rejected": "甲"},
        {"prompt": train, "chosen": "独有", "rejected": "甲"},
        {"prompt": validation, "chosen": "乙", "rejected": "共用"},
        {"prompt": test, "chosen": "共用\n", "rejected": "丙"},
        {"prompt": prompt_in(Split.TRAIN, 1), "chosen": "乙", "rejected": "丁"},
    ]
    corpus.import_file(files.json_lines(tmp_path / "in", rows))
    report = corpus.export("pairs", "csv", tmp_path / "x.csv")
    assert report.dropped["leak"] == 3
    assert report.splits == {"train": 1, "validation": 0, "test": 1}
    texts: dict[str, set[str]] = {}
    with (tmp_path / "x.csv").open(encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file):
            texts.setdefault(row["split"], set()).update((row["chosen"], row["rejected"]))
    assert texts == {"train": {"独有", "甲"}, "test": {"共用", "丙"}}


class Round:
    """A campaign over greetings that are stored already, answered without the annotation room."""

    def __init__(self, database: Database, name: str, kind: CampaignKind = CampaignKind.COMPARE) -> None:
        self._database, self._count = database, 0
        with database.write() as session:
            self._raters = [Rater(kind=RaterKind.HUMAN, name=f"{name} 标注员 {n}") for n in range(3)]
            self._judge = Rater(kind=RaterKind.JUDGE, name="length", version=name)
            campaign = Campaign(name=name, kind=kind, k=3)
            session.add_all([campaign, self._judge, *self._raters])
            session.flush()
            self._campaign = campaign.id

    def _item(self, session: Any, a: str, b: str | None) -> Item:
        found = {
            greeting.text: greeting
            for greeting in session.scalars(select(Greeting).where(Greeting.text.in_([a, b or ""])))
        }
        self._count += 1
        item = Item(
            campaign_id=self._campaign,
            position=self._count,
            prompt_id=found[a].prompt_id,
            greeting_a_id=found[a].id,
            greeting_b_id=found[b].id if b else None,
        )
        session.add(item)
        session.flush()
        return item

    def compare(self, a: str, b: str, *outcomes: Outcome, swapped: bool = False) -> None:
        """One answer a rater; `swapped` shows every second rater the sides the other way round."""
        with self._database.write() as session:
            item = self._item(session, a, b)
            for n, outcome in enumerate(outcomes):
                turn = swapped and n % 2
                left, right = item.greeting_a_id, item.greeting_b_id
                session.add(
                    Comparison(
                        rater_id=self._raters[n].id,
                        item_id=item.id,
                        left_id=right if turn else left,
                        right_id=left if turn else right,
                        outcome={A: B, B: A}.get(outcome, outcome) if turn else outcome,
                        request_id=f"{item.id}-{n}",
                    )
                )

    def amend(self, outcome: Outcome) -> None:
        """The first rater of the last item changes the answer."""
        with self._database.write() as session:
            old = session.scalars(
                select(Comparison).where(Comparison.rater_id == self._raters[0].id).order_by(-Comparison.id)
            ).first()
            assert old is not None
            session.add(
                Comparison(
                    rater_id=old.rater_id,
                    item_id=old.item_id,
                    left_id=old.left_id,
                    right_id=old.right_id,
                    outcome=outcome,
                    revision=1,
                    supersedes_id=old.id,
                    request_id=f"again-{old.id}",
                )
            )

    def judge(self, text: str, *values: float | None, scale: Scale = Scale.BINARY) -> None:
        """One blind verdict a rater, and the judge's, which is not a person's."""
        with self._database.write() as session:
            item = self._item(session, text, None)
            raters = [*self._raters[: len(values)], self._judge]
            for rater, value in zip(raters, [*values, 0.0], strict=True):
                session.add(
                    Verdict(
                        rater_id=rater.id,
                        greeting_id=item.greeting_a_id,
                        item_id=item.id,
                        value=value,
                        scale=scale,
                    )
                )


def stored(corpus: CorpusService, tmp_path: Path, *texts: str, name: str = "texts") -> None:
    """Greetings without labels or pairs, all for one request."""
    rows = [{"prompt": "请", "response": text} for text in texts]
    corpus.import_file(files.json_lines(tmp_path / name, rows))


def exported(corpus: CorpusService, tmp_path: Path, what: str, **scope: str) -> tuple[set[Any], dict[str, int]]:
    path = tmp_path / "x.csv"
    report = corpus.export(what, "csv", path, **scope)
    names = ("chosen", "rejected") if what == "pairs" else ("response", "label")
    with path.open(encoding="utf-8-sig", newline="") as file:
        found = {tuple(row[name] for name in names) for row in csv.DictReader(file)}
    assert len(found) == report.rows
    return found, report.dropped


def test_pairs_are_what_most_raters_of_an_item_chose(corpus: CorpusService, database: Database, tmp_path: Path) -> None:
    stored(corpus, tmp_path, *"甲乙丙丁戊己庚")
    made = Round(database, "对比")
    made.compare("甲", "乙", B, B, A, swapped=True)
    made.compare("甲", "丙", A, SKIP)
    made.compare("甲", "丁", A, B)
    made.compare("甲", "戊", A, GOOD)
    made.compare("甲", "己", GOOD, BAD, SKIP)
    made.compare("乙", "丙", A)
    made.amend(B)
    made.compare("乙", "丁", A)
    made.amend(GONE)
    made.compare("乙", "戊", A, A, GOOD)
    found, dropped = exported(corpus, tmp_path, "pairs")
    assert found == {("乙", "甲"), ("甲", "丙"), ("丙", "乙"), ("乙", "戊")}
    assert dropped == {"tie": 2, "no_preference": 1, "contradiction": 0, "leak": 0, "panel": 0}


def test_labels_are_what_most_raters_said(corpus: CorpusService, database: Database, tmp_path: Path) -> None:
    stored(corpus, tmp_path, *"甲乙丙丁戊")
    made = Round(database, "判断", CampaignKind.VALIDATE)
    made.judge("甲", 1, 1, 0)
    made.judge("乙", 1, 0)
    made.judge("丙", 0, None)
    made.judge("丁", None)
    made.judge("戊", 2.0, 1.9, 2.4, scale=Scale.RUBRIC)
    found, dropped = exported(corpus, tmp_path, "labels")
    assert found == {("甲", "1"), ("丙", "0"), ("戊", "1")}
    assert dropped == {"tie": 1, "contradiction": 0, "leak": 0}


def test_sources_that_contradict_each_other_are_left_out(
    corpus: CorpusService, database: Database, tmp_path: Path
) -> None:
    pair = {"prompt": "请", "chosen": "甲", "rejected": "乙"}
    corpus.import_file(files.json_lines(tmp_path / "one", [pair, {**pair, "rejected": "丙", "flaw": "stiff"}]))
    turned = {"prompt": "请", "chosen": "乙", "rejected": "甲"}
    corpus.import_file(files.json_lines(tmp_path / "two", [turned, {**pair, "rejected": "丙"}]))
    Round(database, "对比").compare("乙", "丙", B)
    found, dropped = exported(corpus, tmp_path, "pairs")
    assert found == {("甲", "丙"), ("丙", "乙")}
    assert dropped["contradiction"] == 1
    assert exported(corpus, tmp_path, "pairs", dataset="two")[0] == {("乙", "甲"), ("甲", "丙")}
    assert exported(corpus, tmp_path, "pairs", campaign="对比")[0] == {("丙", "乙")}
    both = exported(corpus, tmp_path, "pairs", dataset="two", campaign="对比")[0]
    assert both == {("乙", "甲"), ("甲", "丙"), ("丙", "乙")}


def test_labels_by_source(corpus: CorpusService, database: Database, tmp_path: Path) -> None:
    corpus.import_file(files.json_lines(tmp_path / "mine", [files.GOOD, files.WEAK]))
    made = Round(database, "判断", CampaignKind.VALIDATE)
    made.judge(files.GOOD["response"], 0)
    made.judge(files.WEAK["response"], 0)
    good, weak = (files.GOOD["response"], "1"), (files.WEAK["response"], "0")
    found, dropped = exported(corpus, tmp_path, "labels")
    assert (found, dropped["contradiction"]) == ({weak}, 1)
    assert exported(corpus, tmp_path, "labels", dataset="mine")[0] == {good, weak}
    assert exported(corpus, tmp_path, "labels", campaign="判断")[0] == {(good[0], "0"), weak}


def test_wrong_wishes(corpus: CorpusService, tmp_path: Path) -> None:
    for wish, why in (
        (("verdicts", "csv", "x.csv"), "no export 'verdicts'"),
        (("pairs", "xml", "x.xml"), "no format 'xml'"),
        (("pairs", "csv", "none/x.csv"), "does not exist; make it"),
        (("pairs", "csv", "x.csv"), "no pairs to export"),
        (("labels", "trl", "folder"), "no labels to export"),
    ):
        with pytest.raises(UserError, match=why):
            corpus.export(wish[0], wish[1], tmp_path / wish[2])
    with pytest.raises(NotFound, match="no data set called 'none'"):
        corpus.export("pairs", "csv", tmp_path / "x.csv", dataset="none")
    with pytest.raises(NotFound, match="no campaign called 'none'"):
        corpus.export("pairs", "csv", tmp_path / "x.csv", campaign="none")
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_a_failed_export_leaves_the_old_file(
    corpus: CorpusService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus.import_file(files.json_lines(tmp_path / "in", nasty_pairs()))
    (tmp_path / "x.csv").write_text("old", "utf-8")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("backend.corpus.formats._CsvWriter.write", full)
    with pytest.raises(UserError, match="cannot be written"):
        corpus.export("pairs", "csv", tmp_path / "x.csv")
    assert (tmp_path / "x.csv").read_text("utf-8") == "old"
    assert not list(tmp_path.glob("*.part")) and not list(tmp_path.glob(".*.part"))
