"""What must not come in, and what is said about it."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from backend.core.errors import UserError
from backend.corpus.service import CorpusService, ImportRefused
from backend.db.engine import Database
from tests import corpus_files as files
from tests.corpus_files import GOOD, WEAK

pytestmark = pytest.mark.database

EMPTY = dict.fromkeys(("prompts", "greetings", "pairs", "datasets", "labels", "comparisons", "verdicts"), 0)
OTHER = {"query": "给朋友的早安", "response": "早呀，今天也要开心。", "label": 1}


@pytest.fixture
def corpus(database: Database) -> CorpusService:
    return CorpusService(database)


def refused(corpus: CorpusService, path: Path, **wish: Any) -> ImportRefused:
    """The refusal; nothing may be left behind."""
    before = corpus.counts()
    with pytest.raises(ImportRefused) as caught:
        corpus.import_file(path, **wish)
    assert corpus.counts() == before
    assert caught.value.report.added == 0
    assert path.name in str(caught.value)
    assert path.name in caught.value.text("zh") and caught.value.text("zh") != str(caught.value)
    return caught.value


BAD_ROWS: dict[str, tuple[Any, str]] = {
    "missing prompt": ({"response": "好", "label": 1}, "the prompt is missing"),
    "missing greeting": ({"query": "请", "label": 1}, "the greeting is missing"),
    "missing label": ({"query": "请", "response": "好"}, "the label is missing"),
    "null": ({**OTHER, "response": None}, "the greeting is missing"),
    "number": ({**OTHER, "response": 5}, "the greeting is not text but int"),
    "list": ({**OTHER, "query": ["请"]}, "the prompt is not text but list"),
    "blank": ({**OTHER, "query": " \u3000\n"}, "the prompt is empty"),
    "control": ({**OTHER, "response": "好\x07的"}, "the greeting holds control"),
    "nul": ({**OTHER, "response": "好\x00的"}, "the greeting holds control"),
    "zero width": ({**OTHER, "response": "好\u200b的"}, "the greeting holds control"),
    "surrogate": ({**OTHER, "response": "好\ud800的"}, "control or broken characters"),
    "megabyte": ({**OTHER, "response": "好" * 1_000_000}, "1,000,000 characters, more than 20,000"),
    "label 2": ({**OTHER, "label": 2}, "the label is '2', not 0 or 1"),
    "label 0.5": ({**OTHER, "label": 0.5}, "the label is '0.5'"),
    "label word": ({**OTHER, "label": "good"}, "the label is 'good'"),
    "label nan": ({**OTHER, "label": float("nan")}, "the label is 'nan'"),
    "label list": ({**OTHER, "label": [1]}, "not 0 or 1"),
    "label null": ({**OTHER, "label": None}, "the label is missing"),
    "no object": (["请", "好", 1], "not an object"),
    "a word": ("好", "not an object"),
    "contradiction": ({**GOOD, "label": 0}, "already labelled 1 for this prompt, here 0"),
}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_one_bad_row_refuses_the_file(corpus: CorpusService, tmp_path: Path, name: str) -> None:
    row, reason = BAD_ROWS[name]
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in (GOOD, WEAK, row, OTHER)), "utf-8")
    refusal = refused(corpus, path)
    assert "line 3" in str(refusal) and reason in str(refusal)
    assert refusal.report.rejected == 1 and refusal.report.errors[0].line == 3
    report = corpus.import_file(path, skip_bad=True)
    assert (report.read, report.added, report.duplicate, report.rejected) == (4, 3, 0, 1)
    assert report.errors[0].line == 3 and reason in report.errors[0].reason.en


@pytest.mark.parametrize("value", [0, 1, 0.0, 1.0, True, False, "0", "1", "1.0", " true ", "FALSE"])
def test_labels_that_are_accepted(corpus: CorpusService, tmp_path: Path, value: Any) -> None:
    assert corpus.import_file(files.json_lines(tmp_path / "x", [{**GOOD, "label": value}])).added == 1


def test_all_bad_rows_are_counted_and_the_first_thousand_listed(corpus: CorpusService, tmp_path: Path) -> None:
    rows = [{**GOOD, "label": 2}] * 2500
    refusal = refused(corpus, files.json_lines(tmp_path / "x", [GOOD, *rows]))
    assert refusal.report.rejected == 2500 and len(refusal.report.errors) == 1000
    assert "and 2,499 more bad rows" in str(refusal)
    refusal = refused(corpus, files.json_lines(tmp_path / "y", rows), skip_bad=True)
    assert "none of its 2,500 rows can be used" in str(refusal)


def pair(chosen: str, rejected: str) -> dict[str, str]:
    return {"prompt": "请", "chosen": chosen, "rejected": rejected}


def test_equal_sides_are_dropped_without_spoiling_the_file(corpus: CorpusService, tmp_path: Path) -> None:
    path = files.json_lines(tmp_path / "x", [pair("甲", "乙"), pair("好 呀", "好呀\n"), pair("丙", "丁")])
    report = corpus.import_file(path)
    assert (report.added, report.rejected) == (2, 1)
    assert report.errors[0].line == 2 and "no preference" in report.errors[0].reason.en
    refused(corpus, files.json_lines(tmp_path / "y", [pair("甲", "甲")]))


def test_opposite_preferences_contradict(corpus: CorpusService, database: Database, tmp_path: Path) -> None:
    path = files.json_lines(tmp_path / "x", [pair("甲", "乙"), pair("乙", "甲")])
    assert "opposite preference" in str(refused(corpus, path))
    assert corpus.import_file(path, skip_bad=True).added == 1
    later = files.json_lines(tmp_path / "z", [pair("丙", "丁"), pair("乙", "甲")])
    assert "line 2" in str(refused(corpus, later, dataset="x"))
    assert corpus.import_file(later, dataset="y").added == 2


def test_a_label_against_the_stored_one_is_never_taken(
    corpus: CorpusService, database: Database, tmp_path: Path
) -> None:
    corpus.import_file(files.json_lines(tmp_path / "x", [GOOD]))
    turned = files.json_lines(tmp_path / "y", [OTHER, {**GOOD, "label": 0}])
    refused(corpus, turned, dataset="x")
    report = corpus.import_file(turned, dataset="x", skip_bad=True)
    assert (report.added, report.rejected) == (1, 1)
    assert (GOOD["query"], GOOD["response"], 1.0, "") in files.labels(database)
    refused(corpus, files.json_lines(tmp_path / "z", [{**GOOD, "label": 0}]), dataset="x", skip_bad=True)


BAD_FILES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty"),
    "blank": (b"\n \n", "is empty"),
    "no rows": (b"[ ]", "is empty"),
    "only a header": ("请求,祝福,标签\n".encode(), "is empty"),
    "object": (b'{\n "data": [\n  {"query": "a"}\n ]\n}\n', "holds one JSON object"),
    "one-line object": (b'{"data": [{"query": "a"}]}', "its fields are: data"),
    "truncated array": (b'[\n{"query": "a", "response": "b", "label": 1},\n{"query": "c", "re', "line 3"),
    "ends in a list": (b'[\n{"query": "a", "response": "b", "label": 1},\n', "middle of"),
    "never closed": (b'[\n{"query": "a", "response": "b", "label": 1}\n', "ends in the middle of the list"),
    "no comma": (b'[{"prompt": "a"}\n{"prompt": "b"}]', "line 2"),
    "trailing": (b'[{"query": "a", "response": "b", "label": 1}]\nx', "something after the list"),
    "truncated line": (b'{"query": "a", "response": "b', "line 1"),
    "deep": (b'[{"prompt": "a"},\n{"prompt": ' + b"[" * 200_000, "line 2"),
    "numbers": (b"[1, 2, 3]", "fits no known format"),
    "damaged utf-8": (
        "给奶奶的生日祝福语\n新年好\n".encode() + "好".encode()[:2] + b"\n",
        "line 3: damaged UTF-8",
    ),
    "cut utf-8": ("给奶奶的生日祝福语\n新年好".encode()[:-1], "line 2: damaged UTF-8"),
    "junk": (bytes(random.Random(1).randbytes(5000)), "neither text"),
    "png": (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "neither text"),
    "utf-16 cut": ("甲乙".encode("utf-16")[:-1], "neither text"),
    "not parquet": (b"PAR1" + bytes(100), "damaged or incomplete Parquet"),
    "not zip": (b"PK\x03\x04" + bytes(100), "damaged"),
    "old excel": (b"\xd0\xcf\x11\xe0" + bytes(100), "old Excel"),
    "open quote": (b'prompt,chosen,rejected\n"a,b,c\n', "line 2: the quotes do not match"),
    "too many cells": (b"prompt,chosen,rejected\na,b,c,d\n", "4 cells, the header 3"),
    "too few cells": (b"prompt,chosen,rejected\na,b\n", "rejected greeting is empty"),
    "strangers": ("甲,乙\n丙,丁\n".encode(), "its fields are: 甲, 乙"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files(corpus: CorpusService, tmp_path: Path, name: str) -> None:
    data, reason = BAD_FILES[name]
    path = tmp_path / "x.json"
    path.write_bytes(data)
    assert reason in str(refused(corpus, path))
    assert corpus.counts() == EMPTY


def test_paths_that_are_no_files(corpus: CorpusService, tmp_path: Path) -> None:
    assert "is a folder" in str(refused(corpus, tmp_path))
    assert "does not exist" in str(refused(corpus, tmp_path / "none.json"))


def test_an_unreadable_file(corpus: CorpusService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    path = files.json_lines(tmp_path / "x", [GOOD])
    monkeypatch.setattr(Path, "open", denied)
    assert "cannot be read (Permission denied)" in str(refused(corpus, path))


def test_damaged_containers(corpus: CorpusService, tmp_path: Path) -> None:
    good = files.parquet(tmp_path / "p", [{"query": "请", "response": f"好{n}", "label": 1} for n in range(9)])
    (tmp_path / "cut").write_bytes(good.read_bytes()[:-20])
    assert "Parquet" in str(refused(corpus, tmp_path / "cut"))
    book = files.workbook(tmp_path / "b.xlsx", [["prompt"], ["请"]])
    (tmp_path / "cut.xlsx").write_bytes(book.read_bytes()[:-30])
    assert "damaged" in str(refused(corpus, tmp_path / "cut.xlsx"))


def test_a_parquet_file_that_ends_its_reader_does_not_end_this_process(corpus: CorpusService, tmp_path: Path) -> None:
    whole = bytearray(files.parquet(tmp_path / "none", []).read_bytes())
    whole[30] ^= 0xFF  # the number of rows becomes negative, and Arrow calls abort()
    path = tmp_path / "fatal.parquet"
    path.write_bytes(whole)
    told = str(refused(corpus, path))
    assert "ended the process" in told and "Parquet" in told


def test_a_workbook_with_any_byte_changed(corpus: CorpusService, tmp_path: Path) -> None:
    whole = files.workbook(tmp_path / "b.xlsx", [["prompt"], ["请"]]).read_bytes()
    path, told = tmp_path / "bent.xlsx", list[str]()
    for place in range(0, len(whole), max(1, len(whole) // 120)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            corpus.import_file(path)
        except UserError as error:
            told.append(str(error))
    assert len(told) > 30 and all(path.name in one for one in told)


def test_a_line_without_end(corpus: CorpusService, tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("祝福语\n" + "好" * 9_000_000 + "\n生日祝福", "utf-8")
    assert "line 2: the line is far too long" in str(refused(corpus, path))
    report = corpus.import_file(path, skip_bad=True)
    assert (report.read, report.added, report.errors[0].line) == (3, 2, 2)


def test_a_value_without_end(corpus: CorpusService, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('[{"prompt": "a"},\n{"prompt": "' + "b" * 9_000_000, "utf-8")
    assert "line 2" in str(refused(corpus, path))


def test_seed_rows_must_be_whole(corpus: CorpusService, tmp_path: Path) -> None:
    row = {
        "prompt": "请",
        "strong": "甲",
        "weak": "乙",
        "occasion": "生日",
        "recipient": "朋友",
        "style": "口语",
    }
    assert "flaw is missing" in str(refused(corpus, files.json_lines(tmp_path / "x", [row])))
    unknown = {**row, "flaw": "ugly"}
    assert "no known flaw" in str(refused(corpus, files.json_lines(tmp_path / "x", [unknown])))


def test_turns_that_are_no_conversation(corpus: CorpusService, tmp_path: Path) -> None:
    one = {"role": "user", "content": "甲"}, {"role": "assistant", "content": "乙"}
    two = {"role": "user", "content": "别的"}, {"role": "assistant", "content": "丙"}
    rows = [{"chosen": list(one), "rejected": list(two)}]
    assert "different requests" in str(refused(corpus, files.json_lines(tmp_path / "x", rows)))
    broken = [{"prompt": ["甲"], "chosen": "乙", "rejected": "丙"}]
    assert "turn of the conversation" in str(refused(corpus, files.json_lines(tmp_path / "y", broken)))


@pytest.mark.parametrize("name", ["x" * 121, "a\nb", "a\x00b"])
def test_data_set_names(corpus: CorpusService, tmp_path: Path, name: str) -> None:
    path = files.json_lines(tmp_path / "x", [GOOD])
    with pytest.raises(ImportRefused, match="at most 120"):
        corpus.import_file(path, dataset=name)
