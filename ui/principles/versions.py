"""Versions of principles on the page: a card with its rules, the tree, and what became of each rule."""

import re
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from backend.agreement.statistics.figures import Figure
from backend.core.enums import Role
from backend.principles.records import VersionInfo
from ui.components.language import Translator
from ui.components.templates import render
from ui.components.widgets import empty_notice
from ui.principles.names import decision_reason, outcome_pill

# Of what a rule was learnt from; a rule may cite a whole round.
SHOWN_SOURCES = 4
# For each sign of a diff: the class, and the sign as people read it, without colours too.
DIFF_CLASSES = {"=": ("same", ""), "-": ("gone", "−"), "+": ("new", "+")}


def current_rules_html(translate: Translator, versions: Sequence[VersionInfo]) -> Markup:
    """The present S_D and S_G of a run."""
    cards = []
    for principle_role in Role:
        accepted_versions = [version for version in versions if version.role is principle_role and version.accepted]
        if accepted_versions:
            cards.append(rules_card(translate, accepted_versions[-1]))
    return render("principles/templates/cards.html", cards=cards)


def rules_card(translate: Translator, version: VersionInfo) -> Markup:
    """A version with its rules and what each was learnt from."""
    return render(
        "principles/templates/rules_card.html",
        translate=translate,
        version=version,
        outcome=outcome_pill(translate, version),
        score=_score_text(version),
        rules=[(rule.text, _evidence_text(translate, rule.evidence)) for rule in version.rules.rules],
        reason=decision_reason(translate, version),
    )


def version_tree(translate: Translator, versions: Sequence[VersionInfo], chosen_id: int | None) -> Markup:
    """All versions as a tree, each under its parent; those whose parent is not among them stand at the root."""
    if not versions:
        return empty_notice(
            translate("还没有任何版本；开始一次运行就有了。", "No versions yet; a run brings the first.")
        )
    nodes_by_parent: dict[int | None, list[dict[str, Any]]] = {}
    version_ids = {version.id for version in versions}
    # Parents outside of the list are versions of another run or role; their children must not vanish with
    # them.
    for version in versions:
        parent_id = version.parent if version.parent in version_ids else None
        nodes_by_parent.setdefault(parent_id, []).append(_tree_node(translate, version))
    return render(
        "principles/templates/version_tree.html",
        translate=translate,
        nodes_by_parent=nodes_by_parent,
        chosen_id=chosen_id,
    )


def diff_html(diff_lines: Sequence[tuple[str, str]]) -> Markup:
    """What became of each rule, as (sign, text), readable without colours too."""
    shown_lines = [(*DIFF_CLASSES[diff_sign], rule_text) for diff_sign, rule_text in diff_lines]
    return render("principles/templates/diff.html", diff_lines=shown_lines)


def _tree_node(translate: Translator, version: VersionInfo) -> dict[str, Any]:
    """What the template shows of one version of the tree."""
    round_text = (
        translate(f"运行 {version.run} 第 {version.round} 轮", f"run {version.run}, round {version.round}")
        if version.round
        else ""
    )
    details = [round_text, version.author, decision_reason(translate, version)]
    return {
        "version": version,
        "outcome": outcome_pill(translate, version),
        "score": _score_text(version),
        "details": " · ".join(filter(None, details)),
    }


def _score_text(version: VersionInfo) -> str:
    """The gate score with its interval; empty for a version that was not gated."""
    gate_figure = Figure(version.score, version.low, version.high)
    if gate_figure.value is None:
        return ""
    if gate_figure.low is None or gate_figure.high is None:
        return f"{gate_figure.value:.3f}"
    return f"{gate_figure.value:.3f} [{gate_figure.low:.3f}, {gate_figure.high:.3f}]"


def _evidence_text(translate: Translator, sources: Sequence[str]) -> str:
    shown_sources = [_source_text(translate, source) for source in sources[:SHOWN_SOURCES]]
    return translate("、", ", ").join(shown_sources) + ("…" if len(sources) > SHOWN_SOURCES else "")


def _source_text(translate: Translator, source: str) -> str:
    """What a rule was learnt from, in words: `r3.a2` is the third planted flaw of round 3."""
    source_match = re.fullmatch(r"r(\d+)\.([al])(\d+)", source)
    if source_match is None:
        label_number = source.removeprefix("g")
        return translate(f"标签 {label_number}", f"label {label_number}") if source.startswith("g") else source
    round_number, case_number = source_match[1], int(source_match[3]) + 1
    if source_match[2] == "a":
        return translate(
            f"第 {round_number} 轮对抗第 {case_number} 条",
            f"round {round_number}, planted flaw {case_number}",
        )
    return translate(f"第 {round_number} 轮复盘第 {case_number} 条", f"round {round_number}, label {case_number}")
