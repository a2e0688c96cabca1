"""What is stored: once, all or nothing, shared between data sets, with its split and its progress."""

import itertools
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from backend.core.enums import Split
from backend.core.text import assign_split
from backend.corpus import store
from backend.corpus.json_array import iterate_array
from backend.corpus.rows import guard_formula, unguard_formula
from backend.corpus.service import CorpusService, ImportRefused
from backend.db.engine import Database
from backend.db.tables import Prompt
from tests import corpus_files as files
from tests.corpus_files import GOOD, WEAK


@pytest.fixture
def corpus(database: Database) -> CorpusService:
    return CorpusService(database)


@pytest.mark.database
def test_the_same_file_twice_adds_nothing(corpus: CorpusService, database: Database, tmp_path: Path) -> None:
    path = files.json_lines(tmp_path / "x.jsonl", [GOOD, WEAK, GOOD])
    first = corpus.import_file(path)
    assert (first.added, first.duplicate, first.rejected) == (2, 1, 0)
    before = corpus.counts()
    again = corpus.import_file(path)
    assert (again.added, again.duplicate, again.rejected) == (0, 3, 0)
    assert corpus.counts() == before


@pytest.mark.database
def test_a_second_file_adds_what_is_new(corpus: CorpusService, tmp_path: Path) -> None:
    corpus.import_file(files.json_lines(tmp_path / "a", [GOOD]), dataset="mine")
    report = corpus.import_file(files.json_lines(tmp_path / "b", [GOOD, WEAK]), dataset="mine")
    assert (report.dataset, report.added, report.duplicate) == ("mine", 1, 1)
    assert [(each.name, each.prompts, each.greetings, each.labels) for each in corpus.datasets()] == [("mine", 1, 2, 2)]


@pytest.mark.database
def test_data_sets_share_texts(corpus: CorpusService, database: Database, tmp_path: Path) -> None:
    pair = {"prompt": GOOD["query"], "chosen": GOOD["response"] + "  ", "rejected": WEAK["response"]}
    corpus.import_file(files.json_lines(tmp_path / "labels", [GOOD, WEAK]))
    corpus.import_file(files.json_lines(tmp_path / "pairs", [pair]))
    (tmp_path / "asked.txt").write_text(f"{GOOD['query']}\n新年好\n", "utf-8")
    corpus.import_file(tmp_path / "asked.txt")
    counts = corpus.counts()
    assert (counts["prompts"], counts["greetings"], counts["pairs"]) == (2, 2, 1)
    assert files.members(database, "labels") == files.members(database, "pairs")
    assert files.members(database, "asked") == {(GOOD["query"], None), ("新年好", None)}


@pytest.mark.database
def test_another_data_set_may_judge_otherwise(corpus: CorpusService, tmp_path: Path) -> None:
    corpus.import_file(files.json_lines(tmp_path / "a", [GOOD]))
    assert corpus.import_file(files.json_lines(tmp_path / "b", [{**GOOD, "label": 0}])).added == 1
    assert corpus.counts()["labels"] == 2


@pytest.mark.database
def test_tags_reach_a_prompt_that_came_without(corpus: CorpusService, database: Database, tmp_path: Path) -> None:
    row = {"prompt": "请", "response": "好", "occasion": "生日"}
    corpus.import_file(files.json_lines(tmp_path / "a", [{"prompt": "请", "response": "好"}]))
    corpus.import_file(files.json_lines(tmp_path / "b", [row]))
    corpus.import_file(files.json_lines(tmp_path / "c", [{**row, "occasion": "春节", "style": "口语"}]))
    assert files.prompts(database) == {("请", "生日", None, "口语")}


@pytest.mark.database
def test_a_contradiction_beyond_the_first_chunk_stores_nothing(corpus: CorpusService, tmp_path: Path) -> None:
    rows = [{**GOOD, "response": f"第{n}条"} for n in range(2 * store.CHUNK_ROWS)]
    path = files.json_lines(tmp_path / "x", [*rows, {**rows[0], "label": 0}])
    with pytest.raises(ImportRefused, match=f"line {2 * store.CHUNK_ROWS + 1}: .* already labelled 1"):
        corpus.import_file(path)
    assert corpus.counts()["datasets"] == 0
    report = corpus.import_file(path, skip_bad=True)
    assert (report.added, report.rejected) == (2 * store.CHUNK_ROWS, 1)


@pytest.mark.database
def test_splits_are_fixed_by_the_prompt(corpus: CorpusService, database: Database, tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("\n".join(f"第{n}个请求" for n in range(500)), "utf-8")
    corpus.import_file(tmp_path / "x.txt")
    with database.read() as session:
        rows = session.execute(select(Prompt.text, Prompt.split)).all()
    assert all(split == assign_split(text) for text, split in rows)
    share = {split: sum(row[1] == split for row in rows) / len(rows) for split in Split}
    assert share == pytest.approx({Split.TRAIN: 0.8, Split.VALIDATION: 0.1, Split.TEST: 0.1}, abs=0.04)


@pytest.mark.database
def test_progress_only_rises(corpus: CorpusService, tmp_path: Path) -> None:
    rows = [{**GOOD, "response": f"第{n}条"} for n in range(3000)]
    heard: list[tuple[float, str]] = []
    corpus.import_file(files.json_array(tmp_path / "x", rows), progress=lambda share, text: heard.append((share, text)))
    shares = [share for share, _ in heard]
    assert shares == sorted(shares) and shares[-1] == 1.0 and len(shares) > 8
    assert all(0 <= share <= 1 for share in shares)


@pytest.mark.database
def test_readers_are_not_blocked_while_checking(corpus: CorpusService, database: Database, tmp_path: Path) -> None:
    """The write lock is free until everything is checked: another writer gets in during the first half."""
    rows = [{**GOOD, "response": f"第{n}条"} for n in range(2000)]
    other = CorpusService(database)
    small = files.json_lines(tmp_path / "small", [WEAK])
    done = threading.Event()

    def interrupt(share: float, _: str) -> None:
        if share < 0.5 and not done.is_set():
            other.import_file(small)
            done.set()

    corpus.import_file(files.json_array(tmp_path / "x", rows), progress=interrupt)
    assert done.is_set() and {each.name for each in corpus.datasets()} == {"x", "small"}


_TEXT = st.text(st.characters(exclude_categories=("C", "Zl", "Zp"), include_characters="\n\t"), min_size=1, max_size=30)


@given(st.text())
def test_guarded_cells_come_back(text: str) -> None:
    assert unguard_formula(guard_formula(text)) == text
    assert guard_formula(text)[:1] not in tuple("=+-@\t\r")


@given(st.lists(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5)))
def test_arrays_are_read_like_json(tmp_path_factory: pytest.TempPathFactory, values: list[Any]) -> None:
    import io

    for indent in (None, 1):
        text = " \n" + json.dumps(values, indent=indent)
        assert [value for _, value in iterate_array("x", io.StringIO(text))] == values


@pytest.mark.parametrize("window", [1, 7, 64])
def test_arrays_across_windows(monkeypatch: pytest.MonkeyPatch, window: int) -> None:
    import io

    monkeypatch.setattr("backend.corpus.json_array._WINDOW", window)
    rows: list[Any] = [{"a": "好" * 40, "n": 123456}, 12345678, "x\ny", [], {}, 1.5e10]
    text = json.dumps(rows, indent=1, ensure_ascii=False)
    found = list(iterate_array("x", io.StringIO(text)))
    assert [value for _, value in found] == rows
    lines = text.split("\n")
    assert all(lines[line - 1].strip() for line, _ in found)
    assert [line for line, _ in found] == [2, 6, 7, 8, 9, 10]


@pytest.mark.database
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(_TEXT, _TEXT, st.sampled_from([0, 1])), min_size=1, max_size=8))
def test_counts_always_add_up(corpus: CorpusService, tmp_path: Path, rows: list[tuple[str, str, int]]) -> None:
    """Whatever the texts, and what was added is found again."""
    path = files.json_lines(
        tmp_path / "x.jsonl", [dict(zip(("query", "response", "label"), row, strict=True)) for row in rows]
    )
    name = f"set {next(_NUMBERS)}"
    try:
        report = corpus.import_file(path, dataset=name, skip_bad=True)
    except ImportRefused as refusal:
        report = refusal.report
    assert report.read == report.added + report.duplicate + report.rejected == len(rows)
    assert sum(each.labels for each in corpus.datasets() if each.name == name) == report.added


_NUMBERS = itertools.count()
