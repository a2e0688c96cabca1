"""A run as a conversation, round by round: what each agent said, and what became of the proposals."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from backend.core.enums import Agent, GamePhase, Role
from backend.principles.algorithm.rules import list_rule_changes
from backend.principles.algorithm.steps import (
    AttackStep,
    ConfirmStep,
    GameStep,
    JudgedFlaw,
    ProposalStep,
    ReflectedLabel,
    ReflectStep,
    TrimStep,
)
from backend.principles.records import StepInfo, VersionInfo
from ui.components.language import Translator
from ui.components.templates import render
from ui.components.widgets import empty_notice
from ui.principles.names import (
    AGENT_NAMES,
    PROPOSER_NAMES,
    decision_reason,
    fault_name,
    flaw_name,
    outcome_pill,
    split_passage,
)
from ui.principles.versions import diff_html

PhaseSteps = Mapping[GamePhase, GameStep]
# Whether a planted flaw is there, as far as anybody can tell, and why.
FlawClaim = tuple[bool | None, str]
# Undecided has a sign of its own: it teaches nothing, as an absent flaw does, and is not the same.
CLAIM_SIGNS = {True: "✓", False: "✕", None: "?"}


def conversation_html(translate: Translator, game_steps: Sequence[StepInfo], versions: Sequence[VersionInfo]) -> Markup:
    """Every round, the newest first and open."""
    phases_by_round: dict[int, dict[GamePhase, GameStep]] = {}
    for step_info in game_steps:
        # Round 0 holds what comes before and after the rounds, and is no part of the conversation.
        if step_info.round:
            phases_by_round.setdefault(step_info.round, {})[GamePhase(step_info.phase)] = step_info.step
    if not phases_by_round:
        return empty_notice(
            translate(
                "第一轮结束一个阶段后，对话会出现在这里。",
                "What the agents say appears here, phase by phase.",
            )
        )
    versions_by_id = {version_info.id: version_info for version_info in versions}
    return render(
        "principles/templates/conversation.html",
        translate=translate,
        agents={game_agent.name.lower(): translate(*AGENT_NAMES[game_agent]) for game_agent in Agent},
        rounds=[
            _round_view(translate, round_number, phases_by_round[round_number], versions_by_id)
            for round_number in sorted(phases_by_round, reverse=True)
        ],
    )


def _round_view(
    translate: Translator, round_number: int, phase_steps: PhaseSteps, versions_by_id: Mapping[int, VersionInfo]
) -> dict[str, Any]:
    """What the template shows of one round; a phase that has not ended is None."""
    attack, reflection = phase_steps.get(GamePhase.ADVERSARY), phase_steps.get(GamePhase.REFLECT)
    confirmation, trial = phase_steps.get(GamePhase.CONFIRM), phase_steps.get(GamePhase.TRIM)
    detector_proposal, generator_proposal = phase_steps.get(GamePhase.PROPOSE_D), phase_steps.get(GamePhase.PROPOSE_G)
    proposed_versions = [
        versions_by_id[proposing_step.version or 0]
        for proposing_step in (detector_proposal, trial, generator_proposal)
        # A proposal may have no version: where nothing was proposed, or what came could not be read.
        if isinstance(proposing_step, ProposalStep | TrimStep) and (proposing_step.version or 0) in versions_by_id
    ]
    claims = confirmation.claims if isinstance(confirmation, ConfirmStep) else {}
    proposals = []
    if isinstance(detector_proposal, ProposalStep):
        trial_step = trial if isinstance(trial, TrimStep) else None
        proposals.append(_proposal_view(translate, Role.DETECTOR, detector_proposal, versions_by_id, trial_step))
    if isinstance(generator_proposal, ProposalStep):
        proposals.append(_proposal_view(translate, Role.GENERATOR, generator_proposal, versions_by_id, None))
    return {
        "title": translate(f"第 {round_number} 轮", f"Round {round_number}"),
        "version_heads": [(version, outcome_pill(translate, version)) for version in proposed_versions],
        "adversary": _adversary_view(translate, attack, claims) if isinstance(attack, AttackStep) else None,
        "reflection": _reflection_view(translate, reflection) if isinstance(reflection, ReflectStep) else None,
        "proposals": proposals,
    }


def _adversary_view(translate: Translator, attack: AttackStep, claims: Mapping[str, FlawClaim]) -> dict[str, Any]:
    fooled_count = sum(planted_case.value == 1 for planted_case in attack.cases)
    # `is True`: a claim may be None, undecided, which counts for neither.
    confirmed_count = sum(is_there is True for is_there, _ in claims.values())
    return {
        "summary": translate(
            f"{len(attack.cases)} 条里骗过评审 {fooled_count} 条，核对属实 {confirmed_count} 条",
            f"{fooled_count} of {len(attack.cases)} slipped through, {confirmed_count} with a flaw that is there",
        ),
        "cases": [
            _case_view(translate, planted_case, claims.get(str(case_index)))
            for case_index, planted_case in enumerate(attack.cases)
        ],
    }


def _case_view(translate: Translator, case: JudgedFlaw, claim: FlawClaim | None) -> dict[str, Any]:
    """One planted flaw: how it was written, how it was judged, and whether it is there."""
    case_view: dict[str, Any] = {"flaw": flaw_name(translate, case.flaw), "prompt": case.prompt}
    if case.fault:
        return {**case_view, "fault": fault_name(translate, case.fault)}
    planted_note = f"{translate('藏在', 'planted')} {case.explanation or '–'}"
    if not case.asked:
        # A model trained here writes from the bare request, so its flaw was looked for and not planted.
        planted_note = translate("照常写的，看有没有这类缺陷", "written as always; is this kind there?")
    return {
        **case_view,
        "fault": "",
        "greeting": split_passage(case.greeting, case.place),
        "planted_note": planted_note,
        "verdict": _verdict_words(translate, case),
        "claim": _claim_words(translate, claim) if claim is not None else None,
    }


def _claim_words(translate: Translator, claim: FlawClaim) -> tuple[str, str]:
    """What the confirmer or a person found: the finding, and why."""
    claim_labels = {
        True: translate("缺陷确实在，可以用来教评审", "The flaw is there; it may teach"),
        False: translate("缺陷并不存在，不用它教评审", "The flaw is not there; it teaches nothing"),
        None: translate("说不准，不用它教评审", "Undecided; it teaches nothing"),
    }
    is_there, explanation = claim
    return f"{CLAIM_SIGNS[is_there]} {claim_labels[is_there]}", explanation


def _reflection_view(translate: Translator, reflection: ReflectStep) -> dict[str, Any]:
    unscored_count = sum(labeled_item.value is None for labeled_item in reflection.items)
    wrong_items = [
        labeled_item
        for labeled_item in reflection.items
        # An unscored label is counted apart: as a wrong verdict it would make the Detector worse than it is.
        if labeled_item.value is not None and (labeled_item.value == 1) != labeled_item.good
    ]
    label_words = {True: translate("人说好", "people: good"), False: translate("人说不好", "people: not good")}
    return {
        "summary": translate(
            f"{len(reflection.items)} 条有标签的判错 {len(wrong_items)} 条，未评 {unscored_count} 条",
            f"{len(wrong_items)} of {len(reflection.items)} labels wrong, {unscored_count} unscored",
        ),
        "missed": [
            (label_words[wrong_item.good], wrong_item, _verdict_words(translate, wrong_item))
            for wrong_item in wrong_items
        ],
    }


def _proposal_view(
    translate: Translator,
    role: Role,
    proposal_step: ProposalStep,
    versions_by_id: Mapping[int, VersionInfo],
    trial_step: TrimStep | None,
) -> dict[str, Any]:
    """What was proposed, against what it would replace, and what became of it."""
    heading = translate(f"{role} 的提案", f"Proposal of {role}")
    proposal = versions_by_id.get(proposal_step.version or 0)
    if proposal is None:
        return {"heading": heading, "version": None}
    parent_version = versions_by_id.get(proposal.parent or 0)
    diff_lines = list_rule_changes(parent_version.rules.texts if parent_version else (), proposal.rules.texts)
    # What stays stands on the card of the version; here only the proposal is of interest.
    changed_lines = [diff_line for diff_line in diff_lines if diff_line[0] != "="]
    return {
        "heading": heading,
        "version": proposal,
        "proposer": translate(*PROPOSER_NAMES[proposal.proposer]),
        "diff": diff_html(changed_lines) if changed_lines else "",
        "outcome": outcome_pill(translate, proposal),
        "reason": decision_reason(translate, proposal),
        "trial": trial_html(translate, trial_step, versions_by_id) if trial_step is not None else "",
    }


def trial_html(translate: Translator, trial_step: TrimStep, versions_by_id: Mapping[int, VersionInfo]) -> Markup:
    """What each change did by itself, and the version that was left."""
    remaining = versions_by_id.get(trial_step.version or 0)
    return render(
        "principles/templates/trial.html",
        translate=translate,
        changes=[(tried_change, _effect_text(translate, tried_change.change)) for tried_change in trial_step.changes],
        remaining=remaining,
        outcome=outcome_pill(translate, remaining) if remaining is not None else "",
        reason=decision_reason(translate, remaining) if remaining is not None else "",
    )


def _effect_text(translate: Translator, change_figures: Sequence[int] | None) -> str:
    """What undoing a change would do; a change that could not be tried is no zero."""
    if change_figures is None:
        return translate("没法单独撤去：规则会太多或一条不剩", "not tried: too many rules would be left, or none")
    mended_count, broken_count = change_figures
    return translate(
        f"撤去它：改对 {mended_count}、改错 {broken_count}",
        f"without it: {mended_count} mended, {broken_count} broken",
    )


def _verdict_words(translate: Translator, judged: JudgedFlaw | ReflectedLabel) -> tuple[str, str]:
    """A verdict of the Detector: the word, and why."""
    verdict_words: dict[float | None, str] = {
        1: translate("判好", "good"),
        0: translate("判坏", "bad"),
        None: translate("未评", "unscored"),
    }
    return verdict_words[judged.value], judged.reason
