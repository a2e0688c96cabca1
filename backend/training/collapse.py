"""The pure core of the collapse monitor: readings in, findings with their reasons out. No torch."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from backend.diversity import NAN, Profile
from backend.errors import Message
from backend.training_runs.config_grpo import FALLING, CollapseRules


@dataclass(frozen=True)
class Reading:
    """What one look at the policy found: held-out greetings, and what training said since the last look."""

    step: int
    profile: Profile
    gold: float = NAN
    gold_spread: float = NAN
    reward: float = NAN
    kl: float = NAN
    zero_variance: float = NAN
    distinct_2_equal: float = NAN
    """distinct-2 of as many characters as the start wrote; nan stands for that of all."""


@dataclass(frozen=True)
class Finding:
    """A figure beyond a limit. `stop` says which of its two limits."""

    figure: str
    value: float
    limit: float
    stop: bool
    reason: Message


@dataclass(frozen=True)
class Judgement:
    """What a reading means: `stop` ends the run, `best` is the checkpoint to keep so far."""

    findings: tuple[Finding, ...]
    stop: bool
    best: bool

    @property
    def reason(self) -> Message | None:
        """Every finding in one sentence a language, None where there is none."""
        if not self.findings:
            return None
        said = [finding.reason for finding in self.findings]
        return Message("; ".join(one.en for one in said), "；".join(one.zh for one in said))


@dataclass(frozen=True)
class Known:
    """What a reading is held against."""

    start: Reading
    best: Reading
    reference_length: float

    @property
    def lengths(self) -> tuple[float, float]:
        """Mean lengths that a policy may move between."""
        return self.start.profile.length, self.reference_length


@dataclass(frozen=True)
class _Check:
    figure: str
    measure: Callable[[Reading, Known], float]
    en: str
    zh: str


_CHECKS = (
    _Check(
        "longer",
        lambda now, known: _ratio(now.profile.length, max(known.lengths)),
        "greetings grew to {now.profile.length:.0f} characters, {value:.2f} times the reference",
        "祝福语增长到 {now.profile.length:.0f} 字，是参照长度的 {value:.2f} 倍",
    ),
    _Check(
        "shorter",
        lambda now, known: _ratio(now.profile.length, min(known.lengths)),
        "greetings shrank to {now.profile.length:.0f} characters, {value:.2f} of the reference",
        "祝福语缩短到 {now.profile.length:.0f} 字，只有参照长度的 {value:.2f}",
    ),
    _Check(
        "distinct_2",
        lambda now, known: _ratio(_distinct(now), known.start.profile.distinct_2),
        "distinct-2 of as much text as at the start fell to {value:.2f} of it",
        "等量文本的 distinct-2 只有开始时的 {value:.2f}",
    ),
    _Check(
        "self_bleu_4",
        lambda now, known: _way(now.profile.self_bleu_4, known.start.profile.self_bleu_4),
        "greetings grow alike: self-BLEU-4 rose to {now.profile.self_bleu_4:.3f}",
        "祝福语越来越雷同：self-BLEU-4 升到 {now.profile.self_bleu_4:.3f}",
    ),
    _Check(
        "repetition",
        lambda now, known: now.profile.repetition - known.start.profile.repetition,
        "greetings repeat themselves: a repeated phrase covers {now.profile.repetition:.0%}",
        "祝福语自我重复：重复片段占 {now.profile.repetition:.0%}",
    ),
    _Check(
        "fit",
        lambda now, known: _ratio(now.profile.fit, known.start.profile.fit),
        "greetings answer the request less: fit fell to {now.profile.fit:.2f}, {value:.2f} of the start",
        "祝福语偏离请求：切题度降到 {now.profile.fit:.2f}，只有开始时的 {value:.2f}",
    ),
    _Check(
        "kl",
        lambda now, _known: now.kl,
        "the policy is far from its start: KL {value:.2f} nats a token",
        "策略已远离起点：每个词元 KL 为 {value:.2f}",
    ),
    _Check(
        "zero_variance",
        lambda now, _known: now.zero_variance,
        "{value:.0%} of the groups have equal rewards: nothing is left to learn from them",
        "{value:.0%} 的组内奖励完全相同，已学不到东西",
    ),
    _Check(
        "gold_drop",
        lambda now, known: _drop(now, known),
        "the reward rises while gold fell to {now.gold:.2f}, {value:.1f} spreads below its best",
        "奖励仍在上升，而留出裁判的分数降到 {now.gold:.2f}，比最好时低 {value:.1f} 个标准差",
    ),
)


@dataclass
class CollapseMonitor:
    """Judges readings in order; the first is the start. Picks the best checkpoint under the warn limits.

    A run stops where two figures are beyond their stop limits at once, or one in `patience` readings
    running: one noisy figure alone never stops it. Best is the highest gold of the readings without any
    finding, the newest of them where there is no gold.
    """

    rules: CollapseRules
    reference_length: float = NAN
    start: Reading | None = None
    best: Reading | None = None
    beyond: dict[str, int] = field(default_factory=dict)

    def judge(self, reading: Reading) -> Judgement:
        """What this reading means."""
        if self.start is None or self.best is None:
            self.start = self.best = reading
            return Judgement((), stop=False, best=True)
        findings = self._findings(reading, Known(self.start, self.best, self._reference(self.start)))
        best = not findings and not reading.gold < self.best.gold
        if best:
            self.best = reading
        return Judgement(findings, self._stops(findings), best)

    @property
    def written(self) -> int | None:
        """Characters that the start wrote, None before it was read."""
        return None if self.start is None else round(self.start.profile.length * self.start.profile.n)

    def first_reward(self, reward: float) -> None:
        """The reward of the first rollout, which the start wrote; later ones change nothing."""
        if self.start is not None and math.isnan(self.start.reward):
            same = self.best is self.start
            self.start = replace(self.start, reward=reward)
            self.best = self.start if same else self.best

    def state(self) -> dict[str, Any]:
        """What `restore` needs to go on after an interruption."""
        return {"start": _plain(self.start), "best": _plain(self.best), "beyond": self.beyond}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.start, self.best = _reading(state["start"]), _reading(state["best"])
        self.beyond = dict(state["beyond"])

    def _reference(self, start: Reading) -> float:
        return start.profile.length if math.isnan(self.reference_length) else self.reference_length

    def _findings(self, reading: Reading, known: Known) -> tuple[Finding, ...]:
        if self.rules.action == "off":
            return ()
        found = (_finding(check, getattr(self.rules, check.figure), reading, known) for check in _CHECKS)
        return tuple(finding for finding in found if finding)

    def _stops(self, findings: tuple[Finding, ...]) -> bool:
        stopping = {finding.figure for finding in findings if finding.stop}
        self.beyond = {figure: self.beyond.get(figure, 0) + 1 for figure in stopping}
        enough = len(stopping) > 1 or any(times >= self.rules.patience for times in self.beyond.values())
        return enough and self.rules.action == "stop"


def _finding(check: _Check, limits: tuple[float, float], now: Reading, known: Known) -> Finding | None:
    value = check.measure(now, known)
    sign = -1 if check.figure in FALLING else 1
    beyond = [sign * value > sign * limit for limit in limits]
    if not beyond[0]:
        return None
    limit, side = limits[beyond[1]], "上限" if sign > 0 else "下限"
    en, zh = (sentence.format(now=now, value=value) for sentence in (check.en, check.zh))
    reason = Message(f"{en} (limit {limit:g})", f"{zh}（{side} {limit:g}）")
    return Finding(check.figure, value, limit, beyond[1], reason)


def _plain(reading: Reading | None) -> dict[str, Any] | None:
    return asdict(reading) if reading else None


def _reading(plain: dict[str, Any] | None) -> Reading | None:
    return Reading(**plain | {"profile": Profile(**plain["profile"])}) if plain else None


def _ratio(now: float, start: float) -> float:
    return now / start if start else NAN


def _distinct(now: Reading) -> float:
    return now.profile.distinct_2 if math.isnan(now.distinct_2_equal) else now.distinct_2_equal


def _way(now: float, start: float) -> float:
    return (now - start) / (1 - start) if start < 1 else NAN


def _drop(now: Reading, known: Known) -> float:
    """Over-optimisation (Gao et al. 2022): gold turns down while the reward it was trained on goes up."""
    if not now.reward > known.best.reward:
        return NAN
    return (known.best.gold - now.gold) / known.start.gold_spread if known.start.gold_spread else NAN
