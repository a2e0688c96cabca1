"""The monitor's decisions on made-up runs, among them the measured ones of the published data."""

import json
import math
import random
import re
from collections.abc import Sequence
from dataclasses import replace

import pytest
from pydantic import ValidationError

from backend.diversity import NAN, Profile, distinct, first_characters, profile
from backend.settings import ROOT
from backend.text import length
from backend.training.collapse import CollapseMonitor, Judgement, Reading
from backend.training_runs.config_grpo import CollapseRules

# gold, characters, distinct-2, self-BLEU-4, fit, as measured on the research data (256 held-out requests)
BEFORE = (0.23, 33.0, 0.338, 0.587, 0.607)
COLLAPSED = (1.00, 131.0, 0.059, 0.921, 0.416)
RM_WITH_KL = (0.90, 80.0, 0.307, 0.567, 0.663)
BINARY_JUDGE = (0.98, 87.0, 0.336, 0.508, 0.719)
GOOD_LENGTH = 62.0
LOOKS = 14


def reading(step: int, figures: tuple[float, ...], **more: float) -> Reading:
    gold, length, distinct_2, self_bleu_4, fit = figures
    profile = Profile(64, 0.0, length, 10.0, length, distinct_2, self_bleu_4, 0.1, fit)
    made = Reading(step, profile, gold, 0.42, reward=gold, kl=0.05 * step / 4, zero_variance=0.3)
    return replace(made, **more)


def path(end: tuple[float, ...], noise: float = 0.0, seed: int = 0) -> list[Reading]:
    """From the start to `end` in a straight line, with noise relative to the start's figures."""
    rng = random.Random(seed)
    rows = []
    for look in range(LOOKS + 1):
        share = look / LOOKS
        straight = [a + share * (b - a) for a, b in zip(BEFORE, end, strict=True)]
        wobble = [rng.gauss(0, noise) * start for start in BEFORE]
        rows.append(reading(4 * look, tuple(a + b for a, b in zip(straight, wobble, strict=True))))
    return rows


def run(readings: list[Reading], **rules: object) -> list[Judgement]:
    monitor = CollapseMonitor(CollapseRules(**rules), GOOD_LENGTH)  # type: ignore[arg-type]
    judged = []
    for one in readings:
        judged.append(monitor.judge(one))
        if judged[-1].stop:
            break
    return judged


@pytest.mark.parametrize("end", [RM_WITH_KL, BINARY_JUDGE, BEFORE])
def test_a_healthy_run_stays_silent(end: tuple[float, ...]) -> None:
    judged = run(path(end))
    assert len(judged) == LOOKS + 1
    assert [judgement.findings for judgement in judged] == [()] * len(judged)


@pytest.mark.parametrize("seed", range(20))
def test_a_collapse_is_stopped_before_distinct_2_halves(seed: int) -> None:
    readings = path(COLLAPSED, noise=0.04, seed=seed)
    judged = run(readings)
    assert judged[-1].stop
    assert readings[len(judged) - 1].profile.distinct_2 > BEFORE[2] / 2
    assert judged[-1].reason is not None and "distinct-2" in judged[-1].reason.zh


def written(requests: Sequence[str], bodies: Sequence[list[str]]) -> list[Reading]:
    """Readings of real texts, the first body being the start, as `Watch` takes them."""
    size = sum(map(length, bodies[0]))
    return [
        Reading(
            4 * look,
            profile(requests, texts),
            distinct_2_equal=distinct(first_characters(texts, size), 2) if look else NAN,
        )
        for look, texts in enumerate(bodies)
    ]


def seed_greetings() -> tuple[list[str], list[str]]:
    """64 requests of the seed corpus with their good greetings of at least 30 characters."""
    lines = (ROOT / "data" / "seed" / "family.jsonl").read_text("utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if length(row["strong"]) >= 30][:64]
    return [row["prompt"] for row in rows], [row["strong"] for row in rows]


def test_more_text_of_the_same_kind_is_no_loss_of_diversity() -> None:
    """Two clauses a greeting, then five, all drawn alike: distinct-2 of all text falls beyond its limit."""
    requests, whole = seed_greetings()
    clauses = re.split("[，。！？；]", "".join(whole))
    rng = random.Random(1)
    readings = written(requests, [["，".join(rng.choices(clauses, k=k)) for _ in requests] for k in (2, 5)])
    start, now = (one.profile.distinct_2 for one in readings)
    assert now < 0.85 * start
    assert "distinct_2" not in {finding.figure for finding in run(readings)[-1].findings}


def test_longer_texts_of_stock_phrases_are_stopped_before_distinct_2_halves() -> None:
    """A collapse that grows: each reading puts one more stock phrase at the end of every greeting."""
    requests, whole = seed_greetings()
    phrases = [f"愿您如{thing}般闪耀，" for thing in ("星辰", "夏花", "星辰", "秋实", "星辰", "星辰")]
    bodies = [[text[:30] + "".join(phrases[:count]) for text in whole] for count in range(len(phrases) + 1)]
    readings = written(requests, bodies)
    judged = run(readings)
    assert judged[-1].stop
    assert readings[len(judged) - 1].profile.distinct_2 > readings[0].profile.distinct_2 / 2


@pytest.mark.parametrize("seed", range(50))
def test_noise_stops_nothing(seed: int) -> None:
    assert not any(judgement.stop for judgement in run(path(BEFORE, noise=0.06, seed=seed)))
    assert not any(judgement.findings for judgement in run(path(BINARY_JUDGE, noise=0.02, seed=seed)))


def test_one_figure_must_be_beyond_its_limit_in_several_readings() -> None:
    odd = (0.23, 33.0, 0.2, 0.587, 0.607)
    steady = [reading(step, BEFORE) for step in (0, 4)]
    assert not any(judgement.stop for judgement in run([*steady, reading(8, odd), reading(12, BEFORE)]))
    assert run([*steady, reading(8, odd), reading(12, odd)])[-1].stop
    assert len(run([*steady, *(reading(step, odd) for step in (8, 12, 16, 20))], patience=4)) == 6


def test_two_figures_at_once_are_enough() -> None:
    judged = run([reading(0, BEFORE), reading(4, (1.0, 33.0, 0.2, 0.9, 0.607)), reading(8, BEFORE)])
    assert len(judged) == 2 and judged[-1].stop
    assert {finding.figure for finding in judged[-1].findings} == {"distinct_2", "self_bleu_4"}


@pytest.mark.parametrize(
    ("figure", "change"),
    [
        ("longer", {"profile": {"length": 130.0}}),
        ("shorter", {"profile": {"length": 10.0}}),
        ("repetition", {"profile": {"repetition": 0.5}}),
        ("fit", {"profile": {"fit": 0.3}}),
        ("kl", {"kl": 12.0}),
        ("zero_variance", {"zero_variance": 1.0}),
        ("gold_drop", {"gold": -0.5, "reward": 0.9}),
    ],
)
def test_every_figure_can_stop_a_run_and_says_so_in_both_languages(figure: str, change: dict) -> None:  # type: ignore[type-arg]
    start = reading(0, BEFORE)
    bad = replace(start, **{**change, "profile": replace(start.profile, **change.get("profile", {}))})
    judged = run([start, replace(bad, step=4), replace(bad, step=8)])
    assert [finding.figure for finding in judged[-1].findings] == [figure]
    assert judged[-1].stop and judged[-1].reason is not None
    assert "limit" in judged[-1].reason.en and "限" in judged[-1].reason.zh


def test_gold_may_fall_with_the_reward() -> None:
    fallen = reading(4, BEFORE, gold=-0.5, reward=0.1)
    assert run([reading(0, BEFORE), fallen, fallen])[-1].findings == ()


def test_the_best_checkpoint_is_the_best_gold_within_the_limits() -> None:
    readings = [
        reading(0, BEFORE),
        reading(4, (0.6, 60.0, 0.33, 0.58, 0.61)),
        reading(8, (0.5, 60.0, 0.33, 0.58, 0.61)),
        reading(12, (0.9, 60.0, 0.25, 0.58, 0.61)),
    ]
    assert [judgement.best for judgement in run(readings)] == [True, True, False, False]


def test_without_gold_the_newest_healthy_checkpoint_is_kept() -> None:
    readings = [reading(step, BEFORE, gold=math.nan) for step in (0, 4, 8)]
    assert [judgement.best for judgement in run(readings)] == [True, True, True]


def test_figures_that_are_undefined_never_speak() -> None:
    nothing = Reading(0, Profile(64, 1.0, 0.0, 0.0, 0.0, *[math.nan] * 4))
    assert all(judgement.findings == () for judgement in run([nothing, nothing, nothing]))


def test_warn_never_stops_and_off_says_nothing() -> None:
    warned = run(path(COLLAPSED), action="warn")
    assert len(warned) == LOOKS + 1 and warned[-1].findings and not warned[-1].stop
    assert run(path(COLLAPSED), action="off")[-1].findings == ()


def test_it_goes_on_after_an_interruption() -> None:
    readings = path(COLLAPSED)
    whole = run(readings)
    first, second = (
        CollapseMonitor(CollapseRules(), GOOD_LENGTH),
        CollapseMonitor(CollapseRules(), GOOD_LENGTH),
    )
    judged = [first.judge(one) for one in readings[: len(whole) - 1]]
    second.restore(first.state())
    assert [*judged, second.judge(readings[len(whole) - 1])] == whole


def test_limits_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ValidationError, match="distinct_2"):
        CollapseRules(distinct_2=(0.5, 0.8))
    with pytest.raises(ValidationError, match="kl"):
        CollapseRules(kl=(10, 2))
