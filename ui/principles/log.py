"""A run as a conversation, round by round: what each agent said, and what became of the proposals."""

from collections.abc import Mapping, Sequence
from typing import Any

from backend.core.enums import Agent, GamePhase
from backend.principles.algorithm.rules import list_rule_changes
from backend.principles.records import StepInfo, VersionInfo
from ui.components.language import Translator
from ui.components.widgets import empty_notice, esc
from ui.principles.names import AGENT_NAMES, PROPOSER_NAMES, decision_reason, fault_name, flaw_name, outcome_pill

PhaseData = Mapping[str, Mapping[str, Any]]


def conversation_html(translate: Translator, game_steps: Sequence[StepInfo], versions: Sequence[VersionInfo]) -> str:
    """Every round, the newest first and open."""
    phases_by_round: dict[int, dict[str, Mapping[str, Any]]] = {}
    for game_step in game_steps:
        if game_step.round:
            phases_by_round.setdefault(game_step.round, {})[game_step.phase] = game_step.data
    if not phases_by_round:
        return empty_notice(
            translate(
                "第一轮结束一个阶段后，对话会出现在这里。",
                "What the agents say appears here, phase by phase.",
            )
        )
    versions_by_id = {version_info.id: version_info for version_info in versions}
    newest_round = max(phases_by_round)
    return "".join(
        _round_html(
            translate,
            round_number,
            phases_by_round[round_number],
            versions_by_id,
            is_open=round_number == newest_round,
        )
        for round_number in sorted(phases_by_round, reverse=True)
    )


def diff_html(diff_lines: Sequence[tuple[str, str]]) -> str:
    """What became of each rule, readable without colours too."""
    classes = {"=": "same", "-": "gone", "+": "new"}
    diff_items = "".join(
        f'<li class="zf-diff-{classes[sign]}"><i>{"" if sign == "=" else "−" if sign == "-" else "+"}</i>'
        f"<span>{esc(rule_text)}</span></li>"
        for sign, rule_text in diff_lines
    )
    return f'<ul class="zf-diff">{diff_items}</ul>'


def _round_html(
    translate: Translator,
    round_number: int,
    phase_data: PhaseData,
    versions_by_id: Mapping[int, VersionInfo],
    *,
    is_open: bool,
) -> str:
    proposed_versions = [
        versions_by_id[phase_data[phase_name]["version"]]
        for phase_name in (GamePhase.PROPOSE_D, GamePhase.TRIM, GamePhase.PROPOSE_G)
        if phase_name in phase_data and phase_data[phase_name].get("version") in versions_by_id
    ]
    version_heads = "".join(
        f"<span>{version_info.role} v{version_info.id} {outcome_pill(translate, version_info)}</span>"
        for version_info in proposed_versions
    )
    round_parts = [
        _adversary_html(translate, phase_data),
        _reflection_html(translate, phase_data),
        _proposal_html(translate, phase_data, versions_by_id, GamePhase.PROPOSE_D),
        _proposal_html(translate, phase_data, versions_by_id, GamePhase.PROPOSE_G),
    ]
    round_title = translate(f"第 {round_number} 轮", f"Round {round_number}")
    return (
        f'<details class="zf-entry zf-round"{" open" if is_open else ""}>'
        f"<summary><b>{round_title}</b>{version_heads}</summary>{''.join(round_parts)}</details>"
    )


def _adversary_html(translate: Translator, phase_data: PhaseData) -> str:
    if GamePhase.ADVERSARY not in phase_data:
        return ""
    case_claims = phase_data.get(GamePhase.CONFIRM, {}).get("claims", {})
    planted_cases = phase_data[GamePhase.ADVERSARY]["cases"]
    case_items = "".join(
        _case_html(translate, planted_case, case_claims.get(str(case_index)))
        for case_index, planted_case in enumerate(planted_cases)
    )
    fooled_count = sum(planted_case["value"] == 1 for planted_case in planted_cases)
    confirmed = sum(case_claim[0] is True for case_claim in case_claims.values())
    phase_summary = translate(
        f"{len(planted_cases)} 条里骗过评审 {fooled_count} 条，核对属实 {confirmed} 条",
        f"{fooled_count} of {len(planted_cases)} slipped through, {confirmed} with a flaw that is there",
    )
    return f"<h4>{translate('对抗', 'Adversarial phase')}<small>{phase_summary}</small></h4>{case_items}"


def _case_html(translate: Translator, case: Mapping[str, Any], case_claim: Sequence[Any] | None) -> str:
    request_html = f"<small>{translate('请求', 'request')} {esc(case['prompt'])}</small>"
    flaw_chip = f'<span class="zf-chip">{esc(flaw_name(translate, case["flaw"]))}</span>'
    if case["fault"]:
        return _talk_html(
            _statement_html(
                translate,
                Agent.GENERATOR,
                f"{flaw_chip}{request_html}<p><i>{esc(fault_name(translate, case['fault']))}</i></p>",
            )
        )
    planted_note = f"<small>{translate('藏在', 'planted')} {esc(case['explanation'] or '–')}</small>"
    if not case.get("asked", True):
        planted_note = (
            f"<small>{translate('照常写的，看有没有这类缺陷', 'written as always; is this kind there?')}</small>"
        )
    greeting_html = (
        f"{flaw_chip}{request_html}<p>{_highlight_passage(case['greeting'], case['place'])}</p>{planted_note}"
    )
    talk_parts = [
        _statement_html(translate, Agent.GENERATOR, greeting_html),
        _statement_html(translate, Agent.DETECTOR, _verdict_html(translate, case), "zf-right"),
    ]
    if case_claim is not None:
        claim_labels = {
            True: translate("缺陷确实在，可以用来教评审", "The flaw is there; it may teach"),
            False: translate("缺陷并不存在，不用它教评审", "The flaw is not there; it teaches nothing"),
            None: translate("说不准，不用它教评审", "Undecided; it teaches nothing"),
        }
        claim_sign = {True: "✓", False: "✕", None: "?"}[case_claim[0]]
        talk_parts.append(
            _statement_html(
                translate,
                Agent.CONFIRMER,
                f"<b>{claim_sign} {claim_labels[case_claim[0]]}</b> {esc(case_claim[1])}",
                "zf-right",
            )
        )
    return _talk_html(*talk_parts)


def _reflection_html(translate: Translator, phase_data: PhaseData) -> str:
    if GamePhase.REFLECT not in phase_data:
        return ""
    labeled_items = phase_data[GamePhase.REFLECT]["items"]
    unscored_count = sum(labeled_item["value"] is None for labeled_item in labeled_items)
    wrong_items = [
        labeled_item
        for labeled_item in labeled_items
        if labeled_item["value"] is not None and (labeled_item["value"] == 1) != labeled_item["good"]
    ]
    phase_summary = translate(
        f"{len(labeled_items)} 条有标签的判错 {len(wrong_items)} 条，未评 {unscored_count} 条",
        f"{len(wrong_items)} of {len(labeled_items)} labels wrong, {unscored_count} unscored",
    )
    missed_items = "".join(_missed_html(translate, labeled_item) for labeled_item in wrong_items)
    return f"<h4>{translate('复盘', 'Self-reflection')}<small>{phase_summary}</small></h4>{missed_items}"


def _missed_html(translate: Translator, labeled_item: Mapping[str, Any]) -> str:
    human_label = (
        translate("人说好", "people: good") if labeled_item["good"] else translate("人说不好", "people: not good")
    )
    request_html = f"<small>{translate('请求', 'request')} {esc(labeled_item['prompt'])}</small>"
    talk_parts = [
        f'<div class="zf-said"><span class="zf-chip">{human_label}</span>{request_html}'
        f"<p>{esc(labeled_item['greeting'])}</p></div>",
        _statement_html(translate, Agent.DETECTOR, _verdict_html(translate, labeled_item), "zf-right"),
    ]
    if labeled_item["advice"]:
        talk_parts.append(_statement_html(translate, Agent.REFLECTOR, esc(labeled_item["advice"]), "zf-right"))
    return _talk_html(*talk_parts)


def _proposal_html(
    translate: Translator,
    phase_data: PhaseData,
    versions_by_id: Mapping[int, VersionInfo],
    proposal_phase: GamePhase,
) -> str:
    if proposal_phase not in phase_data:
        return ""
    is_detector = proposal_phase is GamePhase.PROPOSE_D
    role_name = "S_D" if is_detector else "S_G"
    heading = translate(f"{role_name} 的提案", f"Proposal of {role_name}")
    proposal = versions_by_id.get(phase_data[proposal_phase]["version"] or 0)
    if proposal is None:
        empty_text = translate("没有可用的建议，这一轮不改。", "No advice, so nothing was proposed.")
        return f'<h4>{heading}</h4><p class="zf-note">{empty_text}</p>'
    parent_version = versions_by_id.get(proposal.parent or 0)
    diff_lines = list_rule_changes(parent_version.rules.texts if parent_version else (), proposal.rules.texts)
    changed_lines = [diff_line for diff_line in diff_lines if diff_line[0] != "="]
    diff_body = diff_html(changed_lines) if changed_lines else ""
    trimmed_html = (
        _trimmed_html(translate, phase_data[GamePhase.TRIM], versions_by_id)
        if is_detector and GamePhase.TRIM in phase_data
        else ""
    )
    return (
        f"<h4>{heading} <small>v{proposal.id} ← v{proposal.parent} · {esc(translate(*PROPOSER_NAMES[proposal.proposer]))}</small></h4>"
        f'{diff_body}<p class="zf-ruling">{outcome_pill(translate, proposal)} {esc(decision_reason(translate, proposal))}</p>{trimmed_html}'
    )


def _trimmed_html(
    translate: Translator, trim_result: Mapping[str, Any], versions_by_id: Mapping[int, VersionInfo]
) -> str:
    """What each change did by itself, and the version that was left."""
    change_items = []
    for rule_change in trim_result["changes"]:
        effect_text = _effect_text(translate, rule_change["change"])
        outcome_text = translate("撤去", "undone") if rule_change["undone"] else translate("留下", "kept")
        diff_sign = "+" if rule_change["added"] else "−"
        change_items.append(
            f"<li><i>{diff_sign}</i><span>{esc(rule_change['text'])} <small>{effect_text}</small> "
            f'<b class="zf-chip">{outcome_text}</b></span></li>'
        )
    section_title = translate("逐条试用", "Each change by itself")
    remaining = versions_by_id.get(trim_result.get("version") or 0)
    ruling_html = ""
    if remaining is not None:
        ruling_html = f'<p class="zf-ruling">v{remaining.id} {outcome_pill(translate, remaining)} {esc(decision_reason(translate, remaining))}</p>'
    return f'<p class="zf-note">{section_title}</p><ul class="zf-diff">{"".join(change_items)}</ul>{ruling_html}'


def _effect_text(translate: Translator, change_figures: Sequence[int] | None) -> str:
    if change_figures is None:
        return translate("没法单独撤去：规则会太多或一条不剩", "not tried: too many rules would be left, or none")
    mended_count, broken_count = change_figures
    return translate(
        f"撤去它：改对 {mended_count}、改错 {broken_count}",
        f"without it: {mended_count} mended, {broken_count} broken",
    )


def _verdict_html(translate: Translator, verdict_data: Mapping[str, Any]) -> str:
    verdict_word = {
        1: translate("判好", "good"),
        0: translate("判坏", "bad"),
        None: translate("未评", "unscored"),
    }[verdict_data["value"]]
    return f"<b>{verdict_word}</b> {esc(verdict_data['reason'])}"


def _highlight_passage(greeting_text: str, flaw_passage: str) -> str:
    if not flaw_passage or flaw_passage not in greeting_text:
        return esc(greeting_text)
    text_before, _, text_after = greeting_text.partition(flaw_passage)
    return f"{esc(text_before)}<mark>{esc(flaw_passage)}</mark>{esc(text_after)}"


def _statement_html(translate: Translator, agent: Agent, inner_html: str, css_class: str = "") -> str:
    return f'<div class="zf-said {css_class}"><span class="zf-who">{esc(translate(*AGENT_NAMES[agent]))}</span>{inner_html}</div>'


def _talk_html(*parts: str) -> str:
    return f'<div class="zf-talk">{"".join(parts)}</div>'
