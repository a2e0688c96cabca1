"""Looking at the corpus, and the leakage figures."""

import math
from pathlib import Path

import pytest

from backend.core.errors import NotFound
from backend.corpus.collect import measure_leakage
from backend.corpus.service import CorpusService
from backend.db.engine import Database
from tests import corpus_files as files


@pytest.fixture
def corpus(database: Database, tmp_path: Path) -> CorpusService:
    made = CorpusService(database)
    rows = [
        {
            "prompt": f"{occasion}第{n}问",
            "response": f"{occasion}第{n}答 100%",
            "label": n % 2,
            "occasion": occasion,
            "recipient": "朋友" if n % 2 else "父母",
            "style": None if n else "口语",
        }
        for occasion, amount in (("生日", 3), ("春节", 2))
        for n in range(amount)
    ]
    made.import_file(files.json_lines(tmp_path / "tagged", rows))
    more = [{"prompt": "生日第0问", "response": f"第{n}种"} for n in range(30)]
    made.import_file(files.json_lines(tmp_path / "many", more))
    return made


@pytest.mark.database
def test_facets_and_counts(corpus: CorpusService) -> None:
    facets = corpus.facets()
    assert list(facets.occasions.items()) == [("生日", 3), ("春节", 2)]
    assert facets.recipients == {"父母": 3, "朋友": 2} and facets.styles == {"口语": 2}
    assert corpus.facets("many").occasions == {"生日": 1}
    counts = corpus.counts()
    assert counts == {
        "prompts": 5,
        "greetings": 35,
        "pairs": 0,
        "datasets": 2,
        "labels": 5,
        "comparisons": 0,
        "verdicts": 5,
    }
    assert [(each.name, each.prompts, each.greetings, each.labels) for each in corpus.datasets()] == [
        ("many", 1, 30, 0),
        ("tagged", 5, 5, 5),
    ]
    with pytest.raises(NotFound, match="there are: many, tagged"):
        corpus.facets("none")


@pytest.mark.database
def test_filters_and_pages(corpus: CorpusService) -> None:
    assert corpus.browse().total == 5
    assert corpus.browse(dataset="tagged", occasion="春节").total == 2
    assert corpus.browse(occasion="生日", recipient="朋友").total == 1
    assert corpus.browse(style="口语").total == 2
    first, second = corpus.browse(size=3), corpus.browse(size=3, page=1)
    assert (len(first.rows), len(second.rows), second.total) == (3, 2, 5)
    assert corpus.browse(page=9).rows == () and corpus.browse(page=-1).rows
    with pytest.raises(NotFound):
        corpus.browse(dataset="none")


@pytest.mark.database
def test_search_looks_into_prompts_and_greetings(corpus: CorpusService) -> None:
    assert corpus.browse(search="春节").total == 2
    assert [row.text for row in corpus.browse(search=" 第29种 ").rows] == ["生日第0问"]
    assert corpus.browse(search="100%").total == 5
    assert corpus.browse(search="1_0%").total == 0


@pytest.mark.database
def test_rows_carry_labels_and_show_the_first_greetings(corpus: CorpusService) -> None:
    row = corpus.browse(search="生日第0问").rows[0]
    assert (row.greeting_count, len(row.greetings)) == (31, 20)
    assert (row.greetings[0].text, row.greetings[0].label) == ("生日第0答 100%", 0.0)
    assert row.greetings[1].label is None and row.split in ("train", "validation", "test")
    only = corpus.browse(dataset="tagged", search="生日第0问").rows[0]
    assert (only.greeting_count, len(only.greetings)) == (1, 1)


def test_leakage() -> None:
    training = [("请一", "甲"), ("请二", "乙")]
    found = measure_leakage([("请 一", "乙\n"), ("请三", "丙"), ("请三", "乙")], training)
    assert (found.prompt_share, found.text_share) == (0.5, 0.5)
    assert math.isnan(measure_leakage([], training).prompt_share)
