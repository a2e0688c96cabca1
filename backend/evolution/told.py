"""Why a version is in or not, in one sentence of both languages, from the figures behind it."""

from collections.abc import Mapping, Sequence
from typing import Any

from backend.errors import Message
from backend.evolution.records import StepInfo
from backend.evolution.uses import Uses
from backend.judges.constancy import ValueCounts
from backend.judges.principles import MAX_RULE, MAX_RULES
from backend.principles.rules import MAX_TOTAL
from backend.principles.vocabulary import Phase, Why

_FIXED = {
    Why.START: ("where the run began", "运行的起点"),
    Why.NO_RULES: ("the optimiser gave no rules", "优化器没有给出任何规则"),
    Why.TOO_MANY: (f"more than {MAX_RULES} rules", f"超过 {MAX_RULES} 条规则"),
    Why.TOO_LONG: (
        f"a rule has more than {MAX_RULE} characters, or all together more than {MAX_TOTAL}",
        f"有规则超过 {MAX_RULE} 字，或合计超过 {MAX_TOTAL} 字",
    ),
    Why.UNCHANGED: ("the same rules as its parent", "与上一版完全相同"),
    Why.SEEN: ("looked at before in this run", "本次运行中已经看过"),
    Why.USELESS: ("no change helps by itself", "没有一处改动单独有用"),
    Why.BASELINE: ("a baseline for the report, never gated", "报告里的对照，不参加把关"),
    Why.BY_HAND: ("written by a person, not gated", "人工撰写，未经把关"),
}


def told(why: Why, facts: Mapping[str, Any]) -> Message:
    """The sentence."""
    if why in _FIXED:
        return Message(*_FIXED[why])
    change_en = f"{facts.get('fixed', 0)} mended, {facts.get('broken', 0)} broken of {facts.get('n', 0)}"
    change_zh = f"{facts.get('n', 0)} 条中改对 {facts.get('fixed', 0)} 条、改错 {facts.get('broken', 0)} 条"
    test = f"p = {_short(facts.get('p'))}"
    if why is Why.MINIBATCH:
        return Message(f"no better on its own minibatch: {change_en}", f"在自己的小批上没有变好：{change_zh}")
    if why is Why.TRIMMED:
        undone = f"{facts.get('undone', 0)} / {facts.get('of', 0)}"
        return Message(
            f"changes that do harm by themselves were undone ({undone}); the rest is a version of its own",
            f"单独看有害的改动已撤去（{undone}），其余另成一版",
        )
    if why is Why.UNSCORED:
        missing = f"{facts.get('missing', 0)} / {facts.get('of', 0)}"
        return Message(f"too much left unscored: {missing}", f"未评的太多：{missing}")
    if why is Why.SAFETY:
        return _unsafe(facts.get("safety", {}))
    if why is Why.NOT_FOOLING:
        fooled = f"{facts.get('before', 0)} → {facts.get('after', 0)}"
        return Message(
            f"confirmed flaws that slip through do not clearly grow: {fooled} of {facts.get('n', 0)}, {test}",
            f"骗过评审且确有缺陷的没有明显增多：{fooled}（共 {facts.get('n', 0)}），{test}",
        )
    if why is Why.BETTER and "before" in facts:
        fooled = f"{facts['before']} → {facts['after']}"
        return Message(
            f"more confirmed flaws slip through: {fooled} of {facts['n']}, {test}",
            f"骗过评审且确有缺陷的增多：{fooled}（共 {facts['n']}），{test}",
        )
    level = _short(facts.get("level"))
    if why is Why.BETTER:
        return Message(
            f"better on the gate set: {change_en}, {test} ≤ {level}",
            f"在把关集上变好：{change_zh}，{test} ≤ {level}",
        )
    return Message(
        f"not better beyond noise on the gate set: {change_en}, {test} > {level}",
        f"在把关集上没有超出噪声的进步：{change_zh}，{test} > {level}",
    )


def constant_detector(steps: Sequence[StepInfo]) -> Message | None:
    """Said of a Detector in force that gave one value to the whole gate set; None where its values differ."""
    counts = ValueCounts()
    for step in reversed(steps):
        if step.phase == Phase.START or (step.phase == Phase.GATE_D and step.data["accepted"]):
            counts.add(step.data["values"])
            break
    return counts.notice


def told_uses(uses: Uses, alpha: float) -> Message:
    """What earlier readings of the locked labels mean for the figures."""
    share = f"{alpha:.0%}"
    if uses.number == 1:
        return Message(
            f"First opening of these locked labels; the {share} chance of a false acceptance is this run's.",
            f"这批封存标签是第一次打开；误采纳的概率（{share}）针对这一次运行。",
        )
    en, zh = [], []
    if uses.runs:
        en.append(f"by {'run' if len(uses.runs) == 1 else 'runs'} {', '.join(map(str, uses.runs))}")
        zh.append(f"运行 {'、'.join(map(str, uses.runs))} ")
    if uses.comparisons:
        en.append(f"in {uses.comparisons} comparison{'s' if uses.comparisons > 1 else ''} of versions")
        zh.append(f" {uses.comparisons} 次版本比较")
    return Message(
        f"Use {uses.number} of these locked labels: read before {' and '.join(en)}. Whoever chose by that "
        f"sees figures a little too good; the {share} chance of a false acceptance is each run's own.",
        f"这批封存标签是第 {uses.number} 次使用，此前读过的有{'和'.join(zh).strip()}："
        "照着挑选的话数字会略偏好；"
        f"误采纳的概率（{share}）只对单次运行成立。",
    )


def _unsafe(facts: Mapping[str, Any]) -> Message:
    names = {"taboo": "忌讳", "injection": "注入", "padding": "凑字"}
    lost = {kind: count for kind, count in facts.get("lost", {}).items() if count}
    en = ", ".join(f"{kind} {count}" for kind, count in lost.items())
    zh = "、".join(f"{names.get(kind, kind)} {count} 条" for kind, count in lost.items())
    return Message(f"worse on the safety set: {en}", f"安全集变差：{zh}")


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"
