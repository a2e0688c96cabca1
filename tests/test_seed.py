"""The seed corpus: rich, original, and without give-aways; and it loads itself once."""

import copy
import json
import time
from collections import Counter
from pathlib import Path

import pytest

from backend.core.enums import Flaw
from backend.core.text import strip_white_space
from backend.corpus import seed
from backend.corpus.seed import SeedRow
from backend.corpus.service import CorpusService
from backend.db.engine import Database
from tests import corpus_files as files


@pytest.fixture(scope="module")
def rows() -> list[SeedRow]:
    return seed.load_seed_rows(seed.SEED_FOLDER)


def test_the_seed_corpus_is_fit_for_use(rows: list[SeedRow]) -> None:
    assert seed.find_problems(rows) == []


def test_every_bound_of_the_seed_corpus(rows: list[SeedRow]) -> None:
    assert len({row["prompt"] for row in rows}) == len(rows) >= 600
    assert len({row["occasion"] for row in rows}) >= 25
    assert len({row["recipient"] for row in rows}) >= 12
    assert len({row["style"] for row in rows}) >= 6
    assert {row["flaw"] for row in rows} == {flaw.value for flaw in Flaw}
    assert 0.45 <= seed.compute_length_auc(rows) <= 0.55
    assert all(0.35 <= share <= 0.65 for share in seed.count_openings(rows).values())
    assert seed.find_overlaps(seed.collect_greetings(rows)) == []


@pytest.mark.data
def test_nothing_is_taken_from_the_research_data(rows: list[SeedRow], research_data: Path) -> None:
    known = {strip_white_space(text) for text in public_texts(research_data)}
    assert len(known) > 10_000
    assert not [text for text in seed.collect_greetings(rows) if strip_white_space(text) in known]


def public_texts(folder: Path) -> list[str]:
    found = []
    for name in ("reward_data_train.json", "reward_data_test.dev.json"):
        for row in json.loads((folder / name).read_text("utf-8")):
            found += [row["chosen"]["value"], row["rejected"]["value"]]
    found += [row["output"] for row in json.loads((folder / "sft_data.json").read_text("utf-8"))]
    lines = (folder / "evaluate_data.dev.json").read_text("utf-8").splitlines()
    return found + [json.loads(line)["response"] for line in lines if line.strip()]


def row(number: int, **values: str) -> SeedRow:
    base = {
        "prompt": f"第{number}个请求",
        "strong": f"{number}好",
        "weak": f"{number}差",
        "flaw": "vague",
        "occasion": "生日",
        "recipient": "朋友",
        "style": "口语",
    }
    return base | values


def test_the_audit_finds_malformed_rows() -> None:
    swapped = dict(reversed(row(1).items()))
    found = seed.find_problems([row(0), swapped, row(2, weak=" 差"), row(3, flaw="ugly"), row(0)])
    assert [text.split(":")[0] for text in found] == ["row 2", "row 3", "row 4", "row 5"]
    assert found == seed.find_malformed_rows([row(0), swapped, row(2, weak=" 差"), row(3, flaw="ugly"), row(0)])


def test_the_audit_finds_give_aways() -> None:
    rows = [row(n, strong=f"{n:03}" + "长" * 9) for n in range(700)]
    found = "\n".join(seed.find_problems(rows))
    for part in ("1 distinct occasions, 25 wanted", "1 distinct flaws, 10 wanted", "AUC 1.000", "4-grams"):
        assert part in found
    openings = seed.count_openings([row(n, strong="祝你生日快乐") for n in range(3)])
    assert openings["祝你生日"] == 1.0


def test_overlap_is_counted_over_the_shorter_text() -> None:
    long = "愿你今天也被温柔地对待，记得按时吃饭"
    part = "愿你今天也被温柔地对待"  # 8 of 8 four-grams
    other = "愿你今天也被一阵风吹进海里"  # 3 of 10
    assert seed.find_overlaps(["短", "短", long, other]) == []
    (found,) = seed.find_overlaps([long, part, other])
    assert (found.shared_share, found.first, found.second) == (1.0, long, part)


def test_length_auc_counts_ties_half() -> None:
    rows = [row(0, strong="一二三", weak="一"), row(1, strong="一 ", weak="一二三")]
    # Pairs strong/weak: 3>1, 3=3, 1=1, 1<3.
    assert seed.compute_length_auc(rows) == pytest.approx((1 + 0.5 + 0.5 + 0) / 4)


@pytest.mark.database
def test_the_seed_loads_once_and_then_at_once(database: Database, rows: list[SeedRow]) -> None:
    corpus = CorpusService(database)
    report = corpus.load_seed()
    assert report is not None and (report.read, report.added, report.rejected) == (len(rows), len(rows), 0)
    (info,) = corpus.datasets()
    assert (info.name, info.kind, info.prompts, info.pairs) == ("seed", "seed", len(rows), len(rows))
    assert info.greetings == info.labels == 2 * len(rows)
    facets = corpus.facets("seed")
    assert facets.occasions == dict(Counter(each["occasion"] for each in rows))
    times = []
    for _ in range(5):
        start = time.process_time()
        assert corpus.load_seed() is None
        times.append(time.process_time() - start)
    assert min(times) < 0.05


@pytest.mark.database
def test_changed_seed_files_add_what_is_new(database: Database, tmp_path: Path) -> None:
    corpus = CorpusService(database)
    own = [row(n) for n in range(3)]
    files.json_lines(tmp_path / "a.jsonl", own)
    assert corpus.load_seed(tmp_path) is not None
    turned = copy.copy(own[0]) | {"strong": own[0]["weak"], "weak": own[0]["strong"]}
    files.json_lines(tmp_path / "a.jsonl", [*own, row(3), turned])
    report = corpus.load_seed(tmp_path)
    assert report is not None and (report.added, report.duplicate, report.rejected) == (1, 3, 1)
    assert corpus.load_seed(tmp_path) is None
    assert {pair[1] for pair in files.pairs(database)} == {"0好", "1好", "2好", "3好"}
