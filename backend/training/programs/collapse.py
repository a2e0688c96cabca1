"""The pure core of the collapse monitor: readings in, findings with their reasons out. No torch."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from backend.core.errors import Message
from backend.generation.diversity import NAN, DiversityProfile
from backend.training.grpo_settings import FALLING_FIGURES, CollapseRules


@dataclass(frozen=True)
class PolicyReading:
    """One look at the policy: its held-out greetings, and what the trainer logged since the look before."""

    step: int
    profile: DiversityProfile
    gold: float = NAN
    gold_spread: float = NAN
    reward: float = NAN
    kl: float = NAN
    zero_variance: float = NAN
    # distinct-2 of as many characters as the start wrote; nan stands for that of all.
    distinct_2_equal: float = NAN


@dataclass(frozen=True)
class Finding:
    """A figure beyond a limit: beyond the one that stops where `stop`, else beyond the one that warns."""

    figure: str
    value: float
    limit: float
    stop: bool
    reason: Message


@dataclass(frozen=True)
class CollapseAssessment:
    """What a reading means: `stop` ends the run, `best` is the checkpoint to keep so far."""

    findings: tuple[Finding, ...]
    stop: bool
    best: bool

    @property
    def reason(self) -> Message | None:
        """Every finding in one sentence a language, None where there is none."""
        if not self.findings:
            return None
        reasons = [finding.reason for finding in self.findings]
        return Message("; ".join(message.en for message in reasons), "；".join(message.zh for message in reasons))


@dataclass(frozen=True)
class ReferenceReadings:
    """What a reading is held against."""

    start: PolicyReading
    best: PolicyReading
    reference_length: float

    @property
    def lengths(self) -> tuple[float, float]:
        """Mean lengths that a policy may move between."""
        return self.start.profile.length, self.reference_length


@dataclass(frozen=True)
class _CollapseCheck:
    figure: str
    measure: Callable[[PolicyReading, ReferenceReadings], float]
    en: str
    zh: str


# Both directions of length: policies shorten as well where a reward allows it.
_COLLAPSE_CHECKS = (
    _CollapseCheck(
        "longer",
        lambda now, known: _ratio_to_start(now.profile.length, max(known.lengths)),
        "greetings grew to {now.profile.length:.0f} characters, {value:.2f} times the reference",
        "祝福语增长到 {now.profile.length:.0f} 字，是参照长度的 {value:.2f} 倍",
    ),
    _CollapseCheck(
        "shorter",
        lambda now, known: _ratio_to_start(now.profile.length, min(known.lengths)),
        "greetings shrank to {now.profile.length:.0f} characters, {value:.2f} of the reference",
        "祝福语缩短到 {now.profile.length:.0f} 字，只有参照长度的 {value:.2f}",
    ),
    _CollapseCheck(
        "distinct_2",
        lambda now, known: _ratio_to_start(_find_distinct_2(now), known.start.profile.distinct_2),
        "distinct-2 of as much text as at the start fell to {value:.2f} of it",
        "等量文本的 distinct-2 只有开始时的 {value:.2f}",
    ),
    _CollapseCheck(
        "self_bleu_4",
        lambda now, known: _share_of_way(now.profile.self_bleu_4, known.start.profile.self_bleu_4),
        "greetings grow alike: self-BLEU-4 rose to {now.profile.self_bleu_4:.3f}",
        "祝福语越来越雷同：self-BLEU-4 升到 {now.profile.self_bleu_4:.3f}",
    ),
    _CollapseCheck(
        "repetition",
        lambda now, known: now.profile.repetition - known.start.profile.repetition,
        "greetings repeat themselves: a repeated phrase covers {now.profile.repetition:.0%}",
        "祝福语自我重复：重复片段占 {now.profile.repetition:.0%}",
    ),
    _CollapseCheck(
        "fit",
        lambda now, known: _ratio_to_start(now.profile.fit, known.start.profile.fit),
        "greetings answer the request less: fit fell to {now.profile.fit:.2f}, {value:.2f} of the start",
        "祝福语偏离请求：切题度降到 {now.profile.fit:.2f}，只有开始时的 {value:.2f}",
    ),
    _CollapseCheck(
        "kl",
        lambda now, _known: now.kl,
        "the policy is far from its start: KL {value:.2f} nats a token",
        "策略已远离起点：每个词元 KL 为 {value:.2f}",
    ),
    _CollapseCheck(
        "zero_variance",
        lambda now, _known: now.zero_variance,
        "{value:.0%} of the groups have equal rewards: nothing is left to learn from them",
        "{value:.0%} 的组内奖励完全相同，已学不到东西",
    ),
    _CollapseCheck(
        "gold_drop",
        lambda now, known: _gold_drop(now, known),
        "the reward rises while gold fell to {now.gold:.2f}, {value:.1f} spreads below its best",
        "奖励仍在上升，而留出裁判的分数降到 {now.gold:.2f}，比最好时低 {value:.1f} 个标准差",
    ),
)


@dataclass
class CollapseMonitor:
    """Judges readings in order; the first is the start. Picks the best checkpoint under the warn limits.

    A run stops where two figures are beyond their stop limits at once, or one in `patience` readings
    running: one noisy figure alone never stops it. Best is the highest gold of the readings without any
    finding, the newest of them where there is no gold; one of which gold cannot tell replaces none that it could.
    """

    rules: CollapseRules
    reference_length: float = NAN
    start: PolicyReading | None = None
    best: PolicyReading | None = None
    stop_counts: dict[str, int] = field(default_factory=dict)

    def assess_reading(self, reading: PolicyReading) -> CollapseAssessment:
        """What this reading means."""
        if self.start is None or self.best is None:
            self.start = self.best = reading
            return CollapseAssessment((), stop=False, best=True)
        findings = self._collect_findings(
            reading, ReferenceReadings(self.start, self.best, self._choose_reference_length(self.start))
        )
        # Without a gold judge both are nan, and the newest reading wins; where gold cannot tell, none that it knows
        # is replaced.
        is_best = not findings and (math.isnan(self.best.gold) or reading.gold >= self.best.gold)
        if is_best:
            self.best = reading
        return CollapseAssessment(findings, self._should_stop(findings), is_best)

    @property
    def start_characters(self) -> int | None:
        """Characters that the start wrote, None before it was read."""
        return None if self.start is None else round(self.start.profile.length * self.start.profile.n)

    def set_first_reward(self, reward: float) -> None:
        """The reward of the first rollout, which the start wrote; later ones change nothing."""
        if self.start is not None and math.isnan(self.start.reward):
            # Readings are frozen, so the best must follow where it is the start that is replaced.
            best_is_start = self.best is self.start
            self.start = replace(self.start, reward=reward)
            self.best = self.start if best_is_start else self.best

    def state(self) -> dict[str, Any]:
        """What `restore` needs to go on after an interruption."""
        return {
            "start": _reading_to_dict(self.start),
            "best": _reading_to_dict(self.best),
            "beyond": self.stop_counts,
        }

    def restore(self, saved_state: dict[str, Any]) -> None:
        """Go on from an earlier monitor's state, as it was read back from JSON."""
        self.start, self.best = (
            _reading_from_dict(saved_state["start"]),
            _reading_from_dict(saved_state["best"]),
        )
        self.stop_counts = dict(saved_state["beyond"])

    def _choose_reference_length(self, start: PolicyReading) -> float:
        return start.profile.length if math.isnan(self.reference_length) else self.reference_length

    def _collect_findings(self, reading: PolicyReading, references: ReferenceReadings) -> tuple[Finding, ...]:
        if self.rules.action == "off":
            return ()
        candidate_findings = (
            _build_finding(collapse_check, getattr(self.rules, collapse_check.figure), reading, references)
            for collapse_check in _COLLAPSE_CHECKS
        )
        return tuple(finding for finding in candidate_findings if finding)

    def _should_stop(self, findings: tuple[Finding, ...]) -> bool:
        stopping_figures = {finding.figure for finding in findings if finding.stop}
        # Built anew each time: a figure that came back within its limit begins from 0.
        self.stop_counts = {figure: self.stop_counts.get(figure, 0) + 1 for figure in stopping_figures}
        should_stop = len(stopping_figures) > 1 or any(
            reading_count >= self.rules.patience for reading_count in self.stop_counts.values()
        )
        return should_stop and self.rules.action == "stop"


def _build_finding(
    collapse_check: _CollapseCheck,
    limits: tuple[float, float],
    reading: PolicyReading,
    references: ReferenceReadings,
) -> Finding | None:
    measurement = collapse_check.measure(reading, references)
    direction = -1 if collapse_check.figure in FALLING_FIGURES else 1
    # NaN compares as false, so a figure that is unknown neither warns nor stops.
    exceeded = [direction * measurement > direction * limit for limit in limits]
    if not exceeded[0]:
        return None
    limit, limit_name_zh = limits[exceeded[1]], "上限" if direction > 0 else "下限"
    en, zh = (template.format(now=reading, value=measurement) for template in (collapse_check.en, collapse_check.zh))
    reason = Message(f"{en} (limit {limit:g})", f"{zh}（{limit_name_zh} {limit:g}）")
    return Finding(collapse_check.figure, measurement, limit, exceeded[1], reason)


def _reading_to_dict(reading: PolicyReading | None) -> dict[str, Any] | None:
    return asdict(reading) if reading else None


def _reading_from_dict(reading_fields: dict[str, Any] | None) -> PolicyReading | None:
    return (
        PolicyReading(**reading_fields | {"profile": DiversityProfile(**reading_fields["profile"])})
        if reading_fields
        else None
    )


def _ratio_to_start(current_value: float, start_value: float) -> float:
    return current_value / start_value if start_value else NAN


def _find_distinct_2(reading: PolicyReading) -> float:
    return reading.profile.distinct_2 if math.isnan(reading.distinct_2_equal) else reading.distinct_2_equal


def _share_of_way(current_value: float, start_value: float) -> float:
    return (current_value - start_value) / (1 - start_value) if start_value < 1 else NAN


def _gold_drop(reading: PolicyReading, references: ReferenceReadings) -> float:
    """Over-optimisation (Gao et al. 2022): gold turns down while the reward it was trained on goes up."""
    if not reading.reward > references.best.reward:
        return NAN
    return (references.best.gold - reading.gold) / references.start.gold_spread if references.start.gold_spread else NAN
