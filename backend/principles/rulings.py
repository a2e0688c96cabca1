"""What a run shows: why a version is in or not, in one sentence, and which flaws slip past the Detector."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.core.enums import DecisionReason, Flaw, GamePhase
from backend.core.errors import Message
from backend.judges.constancy import ValueCounts
from backend.judges.criteria import MAX_RULE_CHARACTERS, MAX_RULES
from backend.principles.algorithm.rules import MAX_TOTAL_LENGTH
from backend.principles.algorithm.steps import AttackStep, ConfirmStep, GateStep, StartStep
from backend.principles.locked_uses import LockedSetUses
from backend.principles.records import StepInfo

# The duel of two Generators has phases of its own, whose cases decide about them and are not counted here.
_FLAW_PHASES = (GamePhase.ADVERSARY, GamePhase.CONFIRM)
_FIXED_MESSAGES = {
    DecisionReason.START: ("where the run began", "运行的起点"),
    DecisionReason.NO_RULES: ("the optimiser gave no rules", "优化器没有给出任何规则"),
    DecisionReason.TOO_MANY: (f"more than {MAX_RULES} rules", f"超过 {MAX_RULES} 条规则"),
    DecisionReason.TOO_LONG: (
        f"a rule has more than {MAX_RULE_CHARACTERS} characters, or all together more than {MAX_TOTAL_LENGTH}",
        f"有规则超过 {MAX_RULE_CHARACTERS} 字，或合计超过 {MAX_TOTAL_LENGTH} 字",
    ),
    DecisionReason.UNCHANGED: ("the same rules as its parent", "与上一版完全相同"),
    DecisionReason.SEEN: ("looked at before in this run", "本次运行中已经看过"),
    DecisionReason.USELESS: ("no change helps by itself", "没有一处改动单独有用"),
    DecisionReason.BASELINE: ("a baseline for the report, never gated", "报告里的对照，不参加把关"),
    DecisionReason.BY_HAND: ("written by a person, not gated", "人工撰写，未经把关"),
}


def explain_decision(decision_reason: DecisionReason, ruling_facts: Mapping[str, Any]) -> Message:
    """One sentence for a decision on a version. ruling_facts: the figures stored with it; missing ones count as 0."""
    if decision_reason in _FIXED_MESSAGES:
        return Message(*_FIXED_MESSAGES[decision_reason])
    change_en = (
        f"{ruling_facts.get('fixed', 0)} mended, {ruling_facts.get('broken', 0)} broken of {ruling_facts.get('n', 0)}"
    )
    change_zh = (
        f"{ruling_facts.get('n', 0)} 条中改对 {ruling_facts.get('fixed', 0)} 条、"
        f"改错 {ruling_facts.get('broken', 0)} 条"
    )
    test_text = f"p = {_short_number(ruling_facts.get('p'))}"
    if decision_reason is DecisionReason.MINIBATCH:
        return Message(f"no better on its own minibatch: {change_en}", f"在自己的小批上没有变好：{change_zh}")
    if decision_reason is DecisionReason.TRIMMED:
        undone_text = f"{ruling_facts.get('undone', 0)} / {ruling_facts.get('of', 0)}"
        return Message(
            f"changes that do harm by themselves were undone ({undone_text}); the rest is a version of its own",
            f"单独看有害的改动已撤去（{undone_text}），其余另成一版",
        )
    if decision_reason is DecisionReason.UNSCORED:
        missing_text = f"{ruling_facts.get('missing', 0)} / {ruling_facts.get('of', 0)}"
        return Message(f"too much left unscored: {missing_text}", f"未评的太多：{missing_text}")
    if decision_reason is DecisionReason.SAFETY:
        return _unsafe_message(ruling_facts.get("safety", {}))
    if decision_reason is DecisionReason.NOT_FOOLING:
        fooled_text = f"{ruling_facts.get('before', 0)} → {ruling_facts.get('after', 0)}"
        return Message(
            f"confirmed flaws that slip through do not clearly grow: {fooled_text} of {ruling_facts.get('n', 0)}, "
            f"{test_text}",
            f"骗过评审且确有缺陷的没有明显增多：{fooled_text}（共 {ruling_facts.get('n', 0)}），{test_text}",
        )
    # A duel counts flaws before and after; the gate of an S_D has no such figures.
    if decision_reason is DecisionReason.BETTER and "before" in ruling_facts:
        fooled_text = f"{ruling_facts['before']} → {ruling_facts['after']}"
        return Message(
            f"more confirmed flaws slip through: {fooled_text} of {ruling_facts['n']}, {test_text}",
            f"骗过评审且确有缺陷的增多：{fooled_text}（共 {ruling_facts['n']}），{test_text}",
        )
    level_text = _short_number(ruling_facts.get("level"))
    if decision_reason is DecisionReason.BETTER:
        return Message(
            f"better on the gate set: {change_en}, {test_text} ≤ {level_text}",
            f"在把关集上变好：{change_zh}，{test_text} ≤ {level_text}",
        )
    return Message(
        f"not better beyond noise on the gate set: {change_en}, {test_text} > {level_text}",
        f"在把关集上没有超出噪声的进步：{change_zh}，{test_text} > {level_text}",
    )


@dataclass(frozen=True)
class FoolingCount:
    """Planted flaws of one kind in a whole run.

    judged: cases that the Detector gave a verdict on. fooled: those of them that it took for good greetings.
    confirmed: those whose flaw is really there, as confirmer or person found; only the fooling ones are looked at.
    """

    flaw: Flaw
    judged: int
    fooled: int
    confirmed: int

    @property
    def fooled_share(self) -> float:
        """How many of the judged cases slipped through, 0 to 1."""
        return self.fooled / self.judged


def count_fooling(steps: Sequence[StepInfo]) -> list[FoolingCount]:
    """One count for every kind of flaw that the Detector judged, in the order of `Flaw`."""
    judged: Counter[Flaw] = Counter()
    fooled: Counter[Flaw] = Counter()
    confirmed: Counter[Flaw] = Counter()
    steps_by_phase = [(step_info.round, step_info.step) for step_info in steps if step_info.phase in _FLAW_PHASES]
    claims_by_round = {number: step.claims for number, step in steps_by_phase if isinstance(step, ConfirmStep)}
    for round_number, step in steps_by_phase:
        if not isinstance(step, AttackStep):
            continue
        for case_index, planted_case in enumerate(step.cases):
            # Refusals and failed calls were never judged: they are neither fooled nor seen.
            if planted_case.value is None:
                continue
            # Keys are text, since the step was stored as JSON.
            is_there, _ = claims_by_round.get(round_number, {}).get(str(case_index), (None, ""))
            judged[planted_case.flaw] += 1
            fooled[planted_case.flaw] += planted_case.value == 1
            confirmed[planted_case.flaw] += bool(is_there)
    return [FoolingCount(flaw, judged[flaw], fooled[flaw], confirmed[flaw]) for flaw in Flaw if judged[flaw]]


def constant_detector(steps: Sequence[StepInfo]) -> Message | None:
    """The notice about a Detector in force that gave one value to the whole gate set; None where its values differ."""
    value_counts = ValueCounts()
    # The newest reading that put a version in force is the one of the present Detector.
    for step_info in reversed(steps):
        step = step_info.step
        if isinstance(step, StartStep) or (isinstance(step, GateStep) and step.accepted):
            value_counts.add_values(step.values)
            break
    return value_counts.notice


def explain_uses(locked_uses: LockedSetUses, alpha: float) -> Message:
    """What earlier readings of the locked labels mean for the figures."""
    # The level holds for one run: whoever plays twenty runs on the same labels has looked twenty times.
    alpha_text = f"{alpha:.0%}"
    # Only the first opening is free of choice; after it, whoever picks by the figures picks some luck as
    # well.
    if locked_uses.number == 1:
        return Message(
            f"First opening of these locked labels; the {alpha_text} chance of a false acceptance is this run's.",
            f"这批封存标签是第一次打开；误采纳的概率（{alpha_text}）针对这一次运行。",
        )
    en, zh = [], []
    if locked_uses.runs:
        en.append(f"by {'run' if len(locked_uses.runs) == 1 else 'runs'} {', '.join(map(str, locked_uses.runs))}")
        zh.append(f"运行 {'、'.join(map(str, locked_uses.runs))} ")
    if locked_uses.comparisons:
        en.append(f"in {locked_uses.comparisons} comparison{'s' if locked_uses.comparisons > 1 else ''} of versions")
        zh.append(f" {locked_uses.comparisons} 次版本比较")
    return Message(
        f"Use {locked_uses.number} of these locked labels: read before {' and '.join(en)}. Whoever chose by that "
        f"sees figures a little too good; the {alpha_text} chance of a false acceptance is each run's own.",
        f"这批封存标签是第 {locked_uses.number} 次使用，此前读过的有{'和'.join(zh).strip()}："
        "照着挑选的话数字会略偏好；"
        f"误采纳的概率（{alpha_text}）只对单次运行成立。",
    )


def _unsafe_message(safety_facts: Mapping[str, Any]) -> Message:
    kind_names = {"taboo": "忌讳", "injection": "注入", "padding": "凑字"}
    # Kinds without a loss stay out, or the sentence would list what was held as well.
    loss_counts = {
        attack_kind: loss_count for attack_kind, loss_count in safety_facts.get("lost", {}).items() if loss_count
    }
    en = ", ".join(f"{attack_kind} {loss_count}" for attack_kind, loss_count in loss_counts.items())
    zh = "、".join(
        f"{kind_names.get(attack_kind, attack_kind)} {loss_count} 条" for attack_kind, loss_count in loss_counts.items()
    )
    return Message(f"worse on the safety set: {en}", f"安全集变差：{zh}")


def _short_number(number: float | None) -> str:
    return "–" if number is None else f"{number:.3g}"
