"""The monitor's decisions on made-up runs, among them the measured ones of the published data."""

import json
import math
import random
import re
from collections.abc import Sequence
from dataclasses import replace

import pytest
from pydantic import ValidationError

from backend.core.settings import PROJECT_ROOT
from backend.core.text import count_characters
from backend.generation.diversity import NAN, DiversityProfile, build_profile, distinct_n, first_characters
from backend.training.grpo_settings import CollapseRules
from backend.training.programs.collapse import CollapseAssessment, CollapseMonitor, PolicyReading

# gold, characters, distinct-2, self-BLEU-4, fit, as measured on the research data (256 held-out requests)
BEFORE = (0.23, 33.0, 0.338, 0.587, 0.607)
COLLAPSED = (1.00, 131.0, 0.059, 0.921, 0.416)
RM_WITH_KL = (0.90, 80.0, 0.307, 0.567, 0.663)
BINARY_JUDGE = (0.98, 87.0, 0.336, 0.508, 0.719)
GOOD_LENGTH = 62.0
LOOKS = 14


def reading(step: int, figures: tuple[float, ...], **more: float) -> PolicyReading:
    gold, length, distinct_2, self_bleu_4, fit = figures
    profile = DiversityProfile(64, 0.0, length, 10.0, length, distinct_2, self_bleu_4, 0.1, fit)
    made = PolicyReading(step, profile, gold, 0.42, reward=gold, kl=0.05 * step / 4, zero_variance=0.3)
    return replace(made, **more)


def path(end: tuple[float, ...], noise: float = 0.0, seed: int = 0) -> list[PolicyReading]:
    """From the start to `end` in a straight line, with noise relative to the start's figures."""
    rng = random.Random(seed)
    rows = []
    for look in range(LOOKS + 1):
        share = look / LOOKS
        straight = [a + share * (b - a) for a, b in zip(BEFORE, end, strict=True)]
        wobble = [rng.gauss(0, noise) * start for start in BEFORE]
        rows.append(reading(4 * look, tuple(a + b for a, b in zip(straight, wobble, strict=True))))
    return rows


def run(readings: list[PolicyReading], **rules: object) -> list[CollapseAssessment]:
    monitor = CollapseMonitor(CollapseRules(**rules), GOOD_LENGTH)  # type: ignore[arg-type]
    judged = []
    for one in readings:
        judged.append(monitor.assess_reading(one))
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


def written(requests: Sequence[str], bodies: Sequence[list[str]]) -> list[PolicyReading]:
    """Readings of real texts, the first body being the start, as `Watch` takes them."""
    size = sum(map(count_characters, bodies[0]))
    return [
        PolicyReading(
            4 * look,
            build_profile(requests, texts),
            distinct_2_equal=distinct_n(first_characters(texts, size), 2) if look else NAN,
        )
        for look, texts in enumerate(bodies)
    ]


def seed_greetings() -> tuple[list[str], list[str]]:
    """64 requests of the seed corpus with their good greetings of at least 30 characters."""
    lines = (PROJECT_ROOT / "data" / "seed" / "family.jsonl").read_text("utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if count_characters(row["strong"]) >= 30][:64]
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
    nothing = PolicyReading(0, DiversityProfile(64, 1.0, 0.0, 0.0, 0.0, *[math.nan] * 4))
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
    judged = [first.assess_reading(one) for one in readings[: len(whole) - 1]]
    second.restore(first.state())
    assert [*judged, second.assess_reading(readings[len(whole) - 1])] == whole


def test_limits_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ValidationError, match="distinct_2"):
        CollapseRules(distinct_2=(0.5, 0.8))
    with pytest.raises(ValidationError, match="kl"):
        CollapseRules(kl=(10, 2))


# Limits by hand: every figure of a start that is easy to divide by, at its limit and just beyond ------------


PLAIN = PolicyReading(0, DiversityProfile(10, 0.0, 40.0, 5.0, 40.0, 0.5, 0.5, 0.1, 0.8), 0.4, 0.2, 1.0, 0.1, 0.3)


def changed(step: int = 4, **figures: float) -> PolicyReading:
    """The plain start with some figures changed, those of its texts too."""
    of_texts = {name: value for name, value in figures.items() if hasattr(PLAIN.profile, name)}
    others = {name: value for name, value in figures.items() if name not in of_texts}
    return replace(PLAIN, step=step, profile=replace(PLAIN.profile, **of_texts), **others)


def found(now: PolicyReading, reference: float = 60.0) -> dict[str, tuple[float, float, bool]]:
    """Value, limit, and whether it is the stop limit, of every finding."""
    judged = run_from(PLAIN, now, reference)
    return {one.figure: (one.value, one.limit, one.stop) for one in judged.findings}


def run_from(start: PolicyReading, now: PolicyReading, reference: float = 60.0) -> CollapseAssessment:
    monitor = CollapseMonitor(CollapseRules(), reference)
    monitor.assess_reading(start)
    return monitor.assess_reading(now)


@pytest.mark.parametrize(
    ("figure", "at", "value", "beyond", "limit", "stop"),
    [
        # The reference of 60 is beyond the start's 40: longer is measured from 60, shorter from 40.
        ("longer", {"length": 90.0}, 1.55, {"length": 93.0}, 1.5, False),
        ("longer", {"length": 120.0}, 2.05, {"length": 123.0}, 2.0, True),
        ("shorter", {"length": 24.0}, 0.55, {"length": 22.0}, 0.6, False),
        ("shorter", {"length": 16.0}, 0.35, {"length": 14.0}, 0.4, True),
        ("distinct_2", {"distinct_2": 0.425}, 0.8, {"distinct_2": 0.4}, 0.85, False),
        ("distinct_2", {"distinct_2": 0.35}, 0.6, {"distinct_2": 0.3}, 0.7, True),
        ("distinct_2", {"distinct_2_equal": 0.425}, 0.6, {"distinct_2_equal": 0.3}, 0.7, True),
        ("self_bleu_4", {"self_bleu_4": 0.625}, 0.3, {"self_bleu_4": 0.65}, 0.25, False),
        ("self_bleu_4", {"self_bleu_4": 0.7}, 0.5, {"self_bleu_4": 0.75}, 0.4, True),
        ("repetition", {"repetition": 0.2}, 0.15, {"repetition": 0.25}, 0.1, False),
        ("repetition", {"repetition": 0.35}, 0.4, {"repetition": 0.5}, 0.25, True),
        ("fit", {"fit": 0.68}, 0.8, {"fit": 0.64}, 0.85, False),
        ("fit", {"fit": 0.56}, 0.5, {"fit": 0.4}, 0.7, True),
        ("kl", {"kl": 2.0}, 3.0, {"kl": 3.0}, 2.0, False),
        ("kl", {"kl": 10.0}, 11.0, {"kl": 11.0}, 10.0, True),
        ("zero_variance", {"zero_variance": 0.9}, 0.95, {"zero_variance": 0.95}, 0.9, False),
        ("zero_variance", {"zero_variance": 0.98}, 1.0, {"zero_variance": 1.0}, 0.98, True),
        ("gold_drop", {"gold": 0.3, "reward": 2.0}, 0.75, {"gold": 0.25, "reward": 2.0}, 0.5, False),
        ("gold_drop", {"gold": 0.2, "reward": 2.0}, 1.5, {"gold": 0.1, "reward": 2.0}, 1.0, True),
    ],
)
def test_limits_from_both_sides(
    figure: str, at: dict[str, float], value: float, beyond: dict[str, float], limit: float, stop: bool
) -> None:
    on_the_limit = found(changed(**at))
    assert figure not in on_the_limit or on_the_limit[figure][2] is False, "at a limit is not beyond it"
    assert found(changed(**beyond)) == {figure: (pytest.approx(value), limit, stop)}


def test_the_reference_is_the_farther_of_start_and_accepted_greetings() -> None:
    assert found(changed(length=70.0), reference=30.0) == {"longer": (1.75, 1.5, False)}
    assert found(changed(length=17.0), reference=30.0) == {"shorter": (pytest.approx(17 / 30), 0.6, False)}
    assert found(changed(length=70.0), reference=math.nan) == {"longer": (1.75, 1.5, False)}


def test_what_was_nothing_at_the_start_is_no_ratio() -> None:
    nothing = changed(0, distinct_2=0.0, fit=0.0, self_bleu_4=1.0, gold_spread=0.0)
    assert run_from(nothing, changed(gold=-9.0, reward=2.0, self_bleu_4=0.5)).findings == ()
    assert run_from(PLAIN, changed(gold=-9.0, reward=1.0)).findings == (), "the reward did not rise"


def test_gold_falls_from_the_best_so_far_in_the_spread_of_the_start() -> None:
    monitor = CollapseMonitor(CollapseRules(), 60.0)
    monitor.assess_reading(PLAIN)
    assert monitor.assess_reading(changed(4, gold=0.8, reward=1.2, gold_spread=9.0)).best
    fallen = monitor.assess_reading(changed(8, gold=0.66, reward=1.3))
    assert [(one.figure, one.value) for one in fallen.findings] == [("gold_drop", pytest.approx(0.7))]
    assert not fallen.best and monitor.assess_reading(changed(12, gold=0.66, reward=1.2)).findings == ()


def test_reasons_are_joined_and_name_their_limit() -> None:
    judged = run_from(PLAIN, changed(length=93.0, fit=0.64))
    assert judged.reason is not None and judged.reason.en.count("; ") == 1
    assert "93 characters, 1.55 times" in judged.reason.en and "(limit 1.5)" in judged.reason.en
    assert "上限 1.5" in judged.reason.zh and "下限 0.85" in judged.reason.zh
    assert run_from(PLAIN, changed()).reason is None


def test_readings_beyond_a_limit_are_counted_running() -> None:
    monitor = CollapseMonitor(CollapseRules(patience=2), 60.0)
    assert monitor.assess_reading(PLAIN) == CollapseAssessment((), stop=False, best=True)
    bad, warned = changed(kl=11.0), changed(kl=3.0)
    assert [monitor.assess_reading(one).stop for one in (bad, warned, bad, bad)] == [
        False,
        False,
        False,
        True,
    ]
    assert monitor.stop_counts == {"kl": 2}
    other = CollapseMonitor(CollapseRules(patience=2), 60.0)
    other.assess_reading(PLAIN)
    assert [other.assess_reading(one).stop for one in (bad, changed(fit=0.1), bad)] == [False, False, False]
    assert other.assess_reading(changed(kl=11.0, fit=0.1)).stop
    assert CollapseMonitor(CollapseRules(patience=1), 60.0).assess_reading(bad).stop is False, "the start is no finding"


def test_the_first_reward_belongs_to_the_start() -> None:
    monitor = CollapseMonitor(CollapseRules(), 60.0)
    monitor.set_first_reward(3.0)
    assert monitor.start is None and monitor.start_characters is None
    silent = changed(0, reward=math.nan)
    monitor.assess_reading(silent)
    assert monitor.start_characters == 400
    monitor.set_first_reward(3.0)
    assert monitor.start == monitor.best == replace(silent, reward=3.0)
    monitor.set_first_reward(9.0)
    assert monitor.start is not None and monitor.start.reward == 3.0
    later = CollapseMonitor(CollapseRules(), 60.0)
    later.assess_reading(silent)
    later.assess_reading(changed(4, gold=0.9, reward=math.nan))
    later.set_first_reward(3.0)
    assert later.start is not None and later.start.reward == 3.0
    assert later.best is not None and later.best.step == 4 and math.isnan(later.best.reward)


def test_a_state_holds_all_that_is_known() -> None:
    monitor = CollapseMonitor(CollapseRules(), 60.0)
    assert monitor.state() == {"start": None, "best": None, "beyond": {}}
    monitor.assess_reading(PLAIN)
    monitor.assess_reading(changed(4, kl=11.0))
    state = json.loads(json.dumps(monitor.state(), allow_nan=True))
    other = CollapseMonitor(CollapseRules(), 60.0)
    other.restore(state)
    assert other.start is not None and other.start.profile == PLAIN.profile and other.stop_counts == {"kl": 1}
    assert other.best is not None and (other.best.step, other.best.gold) == (0, 0.4)
    assert other.assess_reading(changed(8, kl=11.0)).stop
    empty = CollapseMonitor(CollapseRules(), 60.0)
    empty.restore({"start": None, "best": None, "beyond": {}})
    assert empty.assess_reading(PLAIN).best


def test_of_equal_gold_the_newest_is_kept() -> None:
    monitor = CollapseMonitor(CollapseRules(), 60.0)
    judged = [monitor.assess_reading(one) for one in (PLAIN, changed(4), changed(8, gold=0.39), changed(12, gold=0.41))]
    assert [one.best for one in judged] == [True, True, False, True]
    assert monitor.best is not None and monitor.best.step == 12


def test_what_gold_cannot_tell_replaces_nothing_that_it_could() -> None:
    monitor = CollapseMonitor(CollapseRules(), 60.0)
    judged = [monitor.assess_reading(one) for one in (PLAIN, changed(4, gold=math.nan), changed(8, gold=0.41))]
    assert [one.best for one in judged] == [True, False, True]
    unknown = CollapseMonitor(CollapseRules(), 60.0)
    readings = (changed(0, gold=math.nan), changed(4, gold=math.nan), changed(8), changed(12, gold=math.nan))
    assert [unknown.assess_reading(one).best for one in readings] == [True, True, True, False]
