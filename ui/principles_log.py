"""A run as a conversation, round by round: what each agent said, and what became of the proposals."""

from collections.abc import Mapping, Sequence
from typing import Any

from backend.evolution.records import StepInfo, VersionInfo
from backend.principles.rules import changes
from backend.principles.vocabulary import Agent, Phase
from ui.principles_words import AGENTS, PROPOSERS, fault_name, flaw_name, outcome_pill, why
from ui.say import Say
from ui.widgets import empty, esc

Steps = Mapping[str, Mapping[str, Any]]


def conversation(say: Say, steps: Sequence[StepInfo], versions: Sequence[VersionInfo]) -> str:
    """Every round, the newest first and open."""
    rounds: dict[int, dict[str, Mapping[str, Any]]] = {}
    for step in steps:
        if step.round:
            rounds.setdefault(step.round, {})[step.phase] = step.data
    if not rounds:
        return empty(
            say(
                "第一轮结束一个阶段后，对话会出现在这里。",
                "What the agents say appears here, phase by phase.",
            )
        )
    known = {one.id: one for one in versions}
    newest = max(rounds)
    return "".join(
        _round(say, number, rounds[number], known, is_open=number == newest)
        for number in sorted(rounds, reverse=True)
    )


def diff_html(lines: Sequence[tuple[str, str]]) -> str:
    """What became of each rule, readable without colours too."""
    names = {"=": "same", "-": "gone", "+": "new"}
    rows = "".join(
        f'<li class="zf-diff-{names[sign]}"><i>{"" if sign == "=" else "−" if sign == "-" else "+"}</i>'
        f"<span>{esc(text)}</span></li>"
        for sign, text in lines
    )
    return f'<ul class="zf-diff">{rows}</ul>'


def _round(say: Say, number: int, phases: Steps, known: Mapping[int, VersionInfo], *, is_open: bool) -> str:
    proposed = [
        known[phases[name]["version"]]
        for name in (Phase.PROPOSE_D, Phase.TRIM, Phase.PROPOSE_G)
        if name in phases and phases[name].get("version") in known
    ]
    heads = "".join(f"<span>{one.role} v{one.id} {outcome_pill(say, one)}</span>" for one in proposed)
    parts = [
        _adversary(say, phases),
        _reflection(say, phases),
        _proposal(say, phases, known, Phase.PROPOSE_D),
        _proposal(say, phases, known, Phase.PROPOSE_G),
    ]
    title = say(f"第 {number} 轮", f"Round {number}")
    return (
        f'<details class="zf-entry zf-round"{" open" if is_open else ""}>'
        f"<summary><b>{title}</b>{heads}</summary>{''.join(parts)}</details>"
    )


def _adversary(say: Say, phases: Steps) -> str:
    if Phase.ADVERSARY not in phases:
        return ""
    claims = phases.get(Phase.CONFIRM, {}).get("claims", {})
    cases = phases[Phase.ADVERSARY]["cases"]
    talks = "".join(_case(say, case, claims.get(str(place))) for place, case in enumerate(cases))
    fooled = sum(case["value"] == 1 for case in cases)
    there = sum(claim[0] is True for claim in claims.values())
    told = say(
        f"{len(cases)} 条里骗过评审 {fooled} 条，核对属实 {there} 条",
        f"{fooled} of {len(cases)} slipped through, {there} with a flaw that is there",
    )
    return f"<h4>{say('对抗', 'Adversarial phase')}<small>{told}</small></h4>{talks}"


def _case(say: Say, case: Mapping[str, Any], claim: Sequence[Any] | None) -> str:
    asked = f"<small>{say('请求', 'request')} {esc(case['prompt'])}</small>"
    kind = f'<span class="zf-chip">{esc(flaw_name(say, case["flaw"]))}</span>'
    if case["fault"]:
        return _talk(
            _said(say, Agent.GENERATOR, f"{kind}{asked}<p><i>{esc(fault_name(say, case['fault']))}</i></p>")
        )
    planted = f"<small>{say('藏在', 'planted')} {esc(case['explanation'] or '–')}</small>"
    if not case.get("asked", True):
        planted = (
            f"<small>{say('照常写的，看有没有这类缺陷', 'written as always; is this kind there?')}</small>"
        )
    text = f"{kind}{asked}<p>{_marked(case['greeting'], case['place'])}</p>{planted}"
    parts = [_said(say, Agent.GENERATOR, text), _said(say, Agent.DETECTOR, _verdict(say, case), "zf-right")]
    if claim is not None:
        words = {
            True: say("缺陷确实在，可以用来教评审", "The flaw is there; it may teach"),
            False: say("缺陷并不存在，不用它教评审", "The flaw is not there; it teaches nothing"),
            None: say("说不准，不用它教评审", "Undecided; it teaches nothing"),
        }
        sign = {True: "✓", False: "✕", None: "?"}[claim[0]]
        parts.append(
            _said(say, Agent.CONFIRMER, f"<b>{sign} {words[claim[0]]}</b> {esc(claim[1])}", "zf-right")
        )
    return _talk(*parts)


def _reflection(say: Say, phases: Steps) -> str:
    if Phase.REFLECT not in phases:
        return ""
    items = phases[Phase.REFLECT]["items"]
    open_ones = sum(item["value"] is None for item in items)
    wrong = [item for item in items if item["value"] is not None and (item["value"] == 1) != item["good"]]
    told = say(
        f"{len(items)} 条有标签的判错 {len(wrong)} 条，未评 {open_ones} 条",
        f"{len(wrong)} of {len(items)} labels wrong, {open_ones} unscored",
    )
    talks = "".join(_missed(say, item) for item in wrong)
    return f"<h4>{say('复盘', 'Self-reflection')}<small>{told}</small></h4>{talks}"


def _missed(say: Say, item: Mapping[str, Any]) -> str:
    truth = say("人说好", "people: good") if item["good"] else say("人说不好", "people: not good")
    asked = f"<small>{say('请求', 'request')} {esc(item['prompt'])}</small>"
    parts = [
        f'<div class="zf-said"><span class="zf-chip">{truth}</span>{asked}'
        f"<p>{esc(item['greeting'])}</p></div>",
        _said(say, Agent.DETECTOR, _verdict(say, item), "zf-right"),
    ]
    if item["advice"]:
        parts.append(_said(say, Agent.REFLECTOR, esc(item["advice"]), "zf-right"))
    return _talk(*parts)


def _proposal(say: Say, phases: Steps, known: Mapping[int, VersionInfo], phase: Phase) -> str:
    if phase not in phases:
        return ""
    d_role = phase is Phase.PROPOSE_D
    role = "S_D" if d_role else "S_G"
    head = say(f"{role} 的提案", f"Proposal of {role}")
    made = known.get(phases[phase]["version"] or 0)
    if made is None:
        nothing = say("没有可用的建议，这一轮不改。", "No advice, so nothing was proposed.")
        return f'<h4>{head}</h4><p class="zf-note">{nothing}</p>'
    parent = known.get(made.parent or 0)
    lines = changes(parent.rules.texts if parent else (), made.rules.texts)
    shown = [line for line in lines if line[0] != "="]
    body = diff_html(shown) if shown else ""
    trimmed = _trimmed(say, phases[Phase.TRIM], known) if d_role and Phase.TRIM in phases else ""
    return (
        f"<h4>{head} <small>v{made.id} ← v{made.parent} · {esc(say(*PROPOSERS[made.proposer]))}</small></h4>"
        f'{body}<p class="zf-ruling">{outcome_pill(say, made)} {esc(why(say, made))}</p>{trimmed}'
    )


def _trimmed(say: Say, kept: Mapping[str, Any], known: Mapping[int, VersionInfo]) -> str:
    """What each change did by itself, and the version that was left."""
    rows = []
    for one in kept["changes"]:
        told = _without(say, one["change"])
        kind = say("撤去", "undone") if one["undone"] else say("留下", "kept")
        sign = "+" if one["added"] else "−"
        rows.append(
            f"<li><i>{sign}</i><span>{esc(one['text'])} <small>{told}</small> "
            f'<b class="zf-chip">{kind}</b></span></li>'
        )
    title = say("逐条试用", "Each change by itself")
    left = known.get(kept.get("version") or 0)
    ruling = ""
    if left is not None:
        ruling = f'<p class="zf-ruling">v{left.id} {outcome_pill(say, left)} {esc(why(say, left))}</p>'
    return f'<p class="zf-note">{title}</p><ul class="zf-diff">{"".join(rows)}</ul>{ruling}'


def _without(say: Say, figures: Sequence[int] | None) -> str:
    if figures is None:
        return say("没法单独撤去：规则会太多或一条不剩", "not tried: too many rules would be left, or none")
    mends, breaks = figures
    return say(f"撤去它：改对 {mends}、改错 {breaks}", f"without it: {mends} mended, {breaks} broken")


def _verdict(say: Say, said: Mapping[str, Any]) -> str:
    word = {1: say("判好", "good"), 0: say("判坏", "bad"), None: say("未评", "unscored")}[said["value"]]
    return f"<b>{word}</b> {esc(said['reason'])}"


def _marked(text: str, place: str) -> str:
    if not place or place not in text:
        return esc(text)
    before, _, after = text.partition(place)
    return f"{esc(before)}<mark>{esc(place)}</mark>{esc(after)}"


def _said(say: Say, agent: Agent, inside: str, side: str = "") -> str:
    return f'<div class="zf-said {side}"><span class="zf-who">{esc(say(*AGENTS[agent]))}</span>{inside}</div>'


def _talk(*parts: str) -> str:
    return f'<div class="zf-talk">{"".join(parts)}</div>'
