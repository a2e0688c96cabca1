"""The board on the research data shows what the audit of it found: length alone looks like taste."""

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.agreement.statistics.judge_rows import JudgeRow, judge_row
from backend.agreement.statistics.matched import hard_pairs
from backend.core.enums import Scale
from backend.core.text import count_characters, strip_white_space
from backend.judges.base import Sample
from backend.judges.crossfit import TrainingPair, TrainingPool
from backend.judges.length import LengthJudge
from backend.judges.ngram import fit_ngram
from backend.judges.style import fit_style

pytestmark = pytest.mark.data


def read_pairs(path: Path) -> list[TrainingPair]:
    rows = json.loads(path.read_text(encoding="utf-8"))
    return [
        TrainingPair(row["conversations"][0]["value"], row["chosen"]["value"], row["rejected"]["value"]) for row in rows
    ]


@pytest.fixture(scope="module")
def board(research_data: Path) -> dict[str, JudgeRow]:
    """Length, style and n-grams against the labels, trained on no request and no text of theirs."""
    lines = (research_data / "evaluate_data.dev.json").read_text(encoding="utf-8").splitlines()
    items: list[dict[str, Any]] = [json.loads(line) for line in lines]
    prompts, texts = ({strip_white_space(item[key]) for item in items} for key in ("query", "response"))
    pairs = read_pairs(research_data / "reward_data_train.json")
    clean = TrainingPool(
        [
            pair
            for pair in pairs
            if strip_white_space(pair.prompt) not in prompts
            and not {strip_white_space(pair.chosen), strip_white_space(pair.rejected)} & texts
        ]
    )
    samples = [Sample(item["query"], item["response"]) for item in items]
    human, groups = (np.array([item[key] for item in items]) for key in ("label", "query"))
    lengths = np.array([count_characters(sample.greeting) for sample in samples], dtype=float)
    rows = {}
    for judge in (LengthJudge(), fit_style(clean), fit_ngram(clean)):
        drafts = asyncio.run(judge.score(samples))
        value = np.array([np.nan if draft.value is None else draft.value for draft in drafts])
        rows[judge.name] = judge_row(
            judge.name,
            judge.version,
            human.astype(float),
            value,
            groups,
            lengths,
            Scale.SCORE,
            is_paired=False,
            random_seed=0,
        )
    return rows


def test_length_looks_like_taste_until_it_is_matched(board: dict[str, JudgeRow]) -> None:
    row = board["length"]
    assert (row.n, row.unscored) == (1007, 0)
    assert row.auc.value == pytest.approx(0.93, abs=0.015)
    assert row.accuracy.value == pytest.approx(0.90, abs=0.015)
    assert row.spearman.value == pytest.approx(0.744, abs=0.03)
    assert row.matched_auc.low < 0.5 < row.matched_auc.high  # type: ignore[operator]


def test_style_adds_little(board: dict[str, JudgeRow]) -> None:
    row = board["style"]
    assert row.auc.value == pytest.approx(0.915, abs=0.025)
    assert row.matched_auc.value == pytest.approx(0.62, abs=0.06)


def test_wording_gives_the_writer_away(board: dict[str, JudgeRow]) -> None:
    row = board["ngram"]
    assert row.auc.value == pytest.approx(0.985, abs=0.007)
    assert row.accuracy.value == pytest.approx(0.953, abs=0.012)
    assert row.matched_auc.value == pytest.approx(0.903, abs=0.03)
    assert row.spearman.value == pytest.approx(0.844, abs=0.02)


def test_counting_characters_wins_most_pairs(research_data: Path) -> None:
    pairs = read_pairs(research_data / "reward_data_test.dev.json")
    margin = np.array([count_characters(pair.chosen) - count_characters(pair.rejected) for pair in pairs], dtype=float)
    assert (margin > 0).mean() == pytest.approx(0.953, abs=0.01)
    prompts = np.array([pair.prompt for pair in pairs])
    row = judge_row(
        "length",
        "1",
        np.ones(len(pairs)),
        margin,
        prompts,
        margin,
        Scale.SCORE,
        is_paired=True,
        random_seed=0,
    )
    # Equal lengths (3 %) earn half.
    assert row.accuracy.value == pytest.approx(0.97, abs=0.01)
    hard = hard_pairs(margin)
    assert 0.05 < hard.mean() < 0.12 and (margin[hard] > 0).mean() < 0.6
