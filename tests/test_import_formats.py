"""Every format that is recognised, by its content and whatever its name."""

import json
from pathlib import Path
from typing import Any

import pytest

from backend.core.errors import UserError
from backend.corpus.service import CorpusService
from backend.db.engine import Database
from tests import corpus_files as files
from tests.corpus_files import GOOD, WEAK

pytestmark = pytest.mark.database

PROMPT, BEST, WORST = GOOD["query"], GOOD["response"], WEAK["response"]
USER = {"role": "user", "content": PROMPT}
PAIR = {(PROMPT, BEST, WORST, None)}
LABELS = {(PROMPT, BEST, 1.0, ""), (PROMPT, WORST, 0.0, "")}


@pytest.fixture
def corpus(database: Database) -> CorpusService:
    return CorpusService(database)


def said(text: object) -> dict[str, object]:
    return {"role": "assistant", "content": text}


@pytest.mark.parametrize("name", ["labels.json", "labels.jsonl", "labels.csv", "labels.txt", "labels"])
@pytest.mark.parametrize("make", [files.json_lines, files.json_array])
def test_labels_whatever_the_name(
    corpus: CorpusService, database: Database, tmp_path: Path, name: str, make: Any
) -> None:
    report = corpus.import_file(make(tmp_path / name, [GOOD, WEAK]))
    assert (report.kind, report.dataset, report.read, report.added) == ("labels", "labels", 2, 2)
    assert files.labels(database) == LABELS
    assert corpus.counts()["labels"] == 2


PAIR_ROWS = {
    "sharegpt": {
        "conversations": [
            {"from": "system", "value": "写祝福"},
            {"from": "human", "value": "早"},
            {"from": "gpt", "value": "早"},
            {"from": "human", "value": PROMPT},
        ],
        "chosen": {"from": "gpt", "value": BEST},
        "rejected": {"from": "gpt", "value": WORST},
    },
    "trl": {"prompt": PROMPT, "chosen": BEST, "rejected": WORST},
    "trl conversational": {"prompt": [USER], "chosen": [said(BEST)], "rejected": [said(WORST)]},
    "trl implicit": {"chosen": [USER, said(BEST)], "rejected": [USER, said(WORST)]},
}


@pytest.mark.parametrize("name", PAIR_ROWS)
@pytest.mark.parametrize("make", [files.json_lines, files.json_array, files.parquet])
def test_pairs(corpus: CorpusService, database: Database, tmp_path: Path, name: str, make: Any) -> None:
    report = corpus.import_file(make(tmp_path / "x", [PAIR_ROWS[name]]))
    assert (report.kind, report.added) == (name.split()[0], 1)
    assert files.pairs(database) == PAIR
    assert files.members(database, "x") == {(PROMPT, BEST), (PROMPT, WORST)}


def test_alpaca_appends_the_input(corpus: CorpusService, database: Database, tmp_path: Path) -> None:
    rows = [
        {"instruction": "写一条祝福", "input": "给奶奶", "output": BEST},
        {"instruction": "写一条短的", "input": "", "output": WORST},
    ]
    assert corpus.import_file(files.json_array(tmp_path / "sft.json", rows)).kind == "alpaca"
    assert files.texts(database) == {("写一条祝福\n给奶奶", BEST), ("写一条短的", WORST)}
    assert {row.greetings[0].source for row in corpus.browse().rows} == {"human"}


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ({"prompt": [USER], "completion": [said(BEST)], "label": True}, "trl"),
        ({"prompt": PROMPT, "completion": BEST, "label": "1"}, "trl"),
        (
            {
                "conversations": [{"from": "human", "value": PROMPT}, {"from": "gpt", "value": BEST}],
                "kto_tag": 1.0,
            },
            "sharegpt",
        ),
        ({"request": PROMPT, "greeting": BEST, "good": "true"}, "table"),
    ],
)
def test_labels_in_other_shapes(
    corpus: CorpusService, database: Database, tmp_path: Path, row: dict[str, Any], kind: str
) -> None:
    assert corpus.import_file(files.json_lines(tmp_path / "x.jsonl", [row])).kind == kind
    assert files.labels(database) == {(PROMPT, BEST, 1.0, "")}


SEED = {
    "prompt": PROMPT,
    "strong": BEST,
    "weak": WORST,
    "flaw": "vague",
    "occasion": "生日",
    "recipient": "祖辈",
    "style": "温情",
}


def test_seed_rows_are_pairs_labels_and_tags(corpus: CorpusService, database: Database, tmp_path: Path) -> None:
    assert corpus.import_file(files.json_lines(tmp_path / "own.jsonl", [SEED])).kind == "seed"
    assert files.pairs(database) == {(PROMPT, BEST, WORST, "vague")}
    assert files.labels(database) == {(PROMPT, BEST, 1.0, ""), (PROMPT, WORST, 0.0, "vague")}
    assert files.prompts(database) == {(PROMPT, "生日", "祖辈", "温情")}


def test_prompts_a_line(corpus: CorpusService, database: Database, tmp_path: Path) -> None:
    path = tmp_path / "prompts.md"
    path.write_text("短短一句,说透人生\r\n\r\n  祝福语 \n生日祝福语 简短,独特,好\n祝福语\n[爱心]句子", "utf-8")
    report = corpus.import_file(path)
    assert (report.kind, report.read, report.added, report.duplicate) == ("prompts", 5, 4, 1)
    assert files.members(database, "prompts") == {
        ("短短一句,说透人生", None),
        ("祝福语", None),
        ("生日祝福语 简短,独特,好", None),
        ("[爱心]句子", None),
    }


def test_verl_loses_its_template(corpus: CorpusService, database: Database, tmp_path: Path) -> None:
    row = {
        "prompt": [{"role": "user", "content": "请只生成一条祝福语：" + str(PROMPT)}],
        "data_source": "x",
        "ability": "y",
    }
    assert corpus.import_file(files.parquet(tmp_path / "grpo", [row])).kind == "verl"
    assert files.prompts(database) == {(PROMPT, None, None, None)}


LABEL_TABLE = [["请求", "祝福语", "标签"], [PROMPT, BEST, 1], [PROMPT, WORST, 0]]


@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
def test_tables_in_every_encoding(
    corpus: CorpusService, database: Database, tmp_path: Path, delimiter: str, encoding: str
) -> None:
    report = corpus.import_file(files.sheet(tmp_path / "t.txt", LABEL_TABLE, delimiter, encoding))
    assert report.kind == "table"
    assert files.labels(database) == LABELS


def test_workbooks(corpus: CorpusService, database: Database, tmp_path: Path) -> None:
    report = corpus.import_file(files.workbook(tmp_path / "t.csv", [*LABEL_TABLE, [], [520, "我爱你", True]]))
    assert (report.kind, report.added) == ("table", 3)
    assert files.labels(database) == LABELS | {("520", "我爱你", 1.0, "")}


def test_parquet_tables(corpus: CorpusService, database: Database, tmp_path: Path) -> None:
    rows = [{"query": PROMPT, "greeting": BEST, "label": 1}]
    assert corpus.import_file(files.parquet(tmp_path / "t", rows)).kind == "table"
    assert files.labels(database) == {(PROMPT, BEST, 1.0, "")}


@pytest.mark.parametrize("make", [files.sheet, files.workbook])
def test_mapped_columns(corpus: CorpusService, database: Database, tmp_path: Path, make: Any) -> None:
    path = make(tmp_path / "t.csv", [["q", "a", "b", "why"], [PROMPT, BEST, WORST, "stiff"]])
    preview = corpus.preview(path)
    assert (preview.kind, preview.columns) == (None, ("q", "a", "b", "why"))
    assert preview.rows == ({"q": PROMPT, "a": BEST, "b": WORST, "why": "stiff"},)
    with pytest.raises(UserError, match="its fields are: q, a, b, why"):
        corpus.import_file(path)
    with pytest.raises(UserError, match="no column 'c'; its columns are q, a, b, why"):
        corpus.import_file(path, mapping={"prompt": "c"})
    with pytest.raises(UserError, match="no field 'x' to map"):
        corpus.import_file(path, mapping={"x": "q"})
    corpus.import_file(path, mapping={"prompt": "q", "chosen": "a", "rejected": "b", "flaw": "why"})
    assert files.pairs(database) == {(PROMPT, BEST, WORST, "stiff")}


def test_a_lone_prompt_column_is_not_taken_for_everything(corpus: CorpusService, tmp_path: Path) -> None:
    path = files.sheet(tmp_path / "t.csv", [["prompt", "text1"], ["甲", "乙"]])
    with pytest.raises(UserError, match="prompt, text1"):
        corpus.import_file(path)
    assert corpus.import_file(path, mapping={"prompt": "prompt"}).added == 1


def test_json_fields_can_be_mapped(corpus: CorpusService, database: Database, tmp_path: Path) -> None:
    path = files.json_array(tmp_path / "x.json", [{"q": PROMPT, "a": BEST}])
    assert corpus.preview(path).kind is None
    corpus.import_file(path, mapping={"prompt": "q", "response": "a"})
    assert files.texts(database) == {(PROMPT, BEST)}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "gb18030", "utf-16", "utf-16-be-bom", "utf-32"])
@pytest.mark.parametrize("make", [files.json_lines, files.json_array])
def test_encodings_of_json(corpus: CorpusService, database: Database, tmp_path: Path, encoding: str, make: Any) -> None:
    path = make(tmp_path / "x", [GOOD, WEAK])
    text = path.read_text("utf-8")
    data = b"\xfe\xff" + text.encode("utf-16-be") if encoding == "utf-16-be-bom" else text.encode(encoding)
    path.write_bytes(data)
    corpus.import_file(path)
    assert files.labels(database) == LABELS


def test_preview_of_a_known_format(corpus: CorpusService, tmp_path: Path) -> None:
    preview = corpus.preview(files.json_lines(tmp_path / "x", [GOOD] * 9, "gb18030"))
    assert (preview.kind, preview.encoding, len(preview.rows)) == ("labels", "gb18030", 5)
    assert preview.columns == ("query", "response", "label")


def test_a_wished_kind_wins(corpus: CorpusService, database: Database, tmp_path: Path) -> None:
    path = files.sheet(tmp_path / "x.csv", [["请求", "祝福"], ["甲", "乙"]])
    assert corpus.import_file(path, kind="prompts").added == 2
    assert ("请求,祝福", None) in files.members(database, "x")
    with pytest.raises(UserError, match="no kind 'xml'"):
        corpus.import_file(path, kind="xml")


def test_every_line_of_a_long_array_is_known(corpus: CorpusService, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{**GOOD, "response": f"第{n}条" + "好" * n} for n in range(900)]
    rows[700]["label"] = 7
    path = files.json_array(tmp_path / "x.json", rows)
    line = path.read_text("utf-8").splitlines().index("  {", 1 + 700 * 5) + 1
    with pytest.raises(UserError, match=f"line {line}: the label is '7', not 0 or 1"):
        corpus.import_file(path)
    assert json.loads(path.read_text("utf-8"))[700]["label"] == 7
