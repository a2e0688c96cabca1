"""One pair as two conversations: what each agent said of each greeting, and who decided in the end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from backend.core.enums import PairState
from backend.preferences.records import Decision, PairDetail, PairSide
from ui.components.judges import PANEL_ROLE_NAMES, judge_title
from ui.components.language import Translator
from ui.components.templates import render
from ui.preferences.names import DECIDER_NAMES, REQUESTED_LENGTHS, STATE_NAMES, state_pill


@dataclass(frozen=True)
class ShownVerdict:
    """A verdict in words: whether the greeting is excellent, and why."""

    is_good: bool
    verdict_word: str
    explanation: str


@dataclass(frozen=True)
class DebateTurn:
    """What one agent, or people, contributed: statements, a verdict, or a summary."""

    speaker: str
    css_kind: str
    statements: Sequence[str] = ()
    verdict: ShownVerdict | None = None
    summary: str = ""


def debate_html(translate: Translator, pair: PairDetail) -> Markup:
    """The card of one pair: the better greeting first, as it is now decided."""
    # A flip changes which greeting is better, and nothing of what the judge decided: that is stored as it was.
    is_flipped = pair.state is PairState.FLIPPED
    better, weaker = (pair.rejected, pair.chosen) if is_flipped else (pair.chosen, pair.rejected)
    return render(
        "preferences/templates/debate.html",
        translate=translate,
        pair=pair,
        state=state_pill(translate, pair.state),
        sides=[_side_view(translate, better, is_better=True), _side_view(translate, weaker, is_better=False)],
        decision_texts=[_decision_text(translate, decision) for decision in pair.decisions],
        judge_label=judge_title(translate, pair.judge),
        second_label=judge_title(translate, pair.second_judge) if pair.second_judge else "",
        call_lines=[
            (translate("裁判认可的一条，调用", "calls on the accepted one"), _call_ids(pair.chosen)),
            (translate("裁判否掉的一条，调用", "calls on the refused one"), _call_ids(pair.rejected)),
        ],
    )


def _call_ids(side: PairSide) -> list[str]:
    # Every call of the debate, so that each sentence on the card can be traced in the ledger.
    second_call_ids = side.again.details.get("calls", ()) if side.again else ()
    return [side.call_id, *side.details.get("calls", ()), *second_call_ids]


def _side_view(translate: Translator, side: PairSide, *, is_better: bool) -> dict[str, Any]:
    """What the template shows of one greeting."""
    recipe = side.recipe
    traits = [
        side.generator,
        f"{translate('温度', 'temperature')} {recipe.get('temperature', '–')}",
        translate("看过范例", "with examples") if recipe.get("examples") else translate("没看范例", "no examples"),
        translate(*REQUESTED_LENGTHS.get(str(recipe.get("wished")), ("–", "–"))),
        translate(f"{len(side.text)} 字", f"{len(side.text)} characters"),
    ]
    return {
        "css_kind": "good" if is_better else "weak",
        "label": translate("入选", "chosen") if is_better else translate("落选", "rejected"),
        "text": side.text,
        "traits": traits,
        "turns": _debate_turns(translate, side),
    }


def _debate_turns(translate: Translator, side: PairSide) -> list[DebateTurn]:
    """Everything that was said of a greeting, in the order in which it was said."""
    return [
        *_evidence_turns(translate, side.details),
        *_verdict_turns(translate, side),
        *_later_turns(translate, side),
    ]


def _evidence_turns(translate: Translator, debate_details: Mapping[str, Any]) -> list[DebateTurn]:
    turns = []
    if debate_details.get("examples"):
        example_texts = [example_text for _, example_text in debate_details["examples"]]
        turns.append(DebateTurn(translate("检索", "Retrieval"), "examples", example_texts))
    for agent_role, detail_key, empty_text in (
        ("positive", "merits", translate("没有优点", "no merit")),
        ("negative", "faults", translate("没有缺点", "no fault")),
    ):
        if detail_key in debate_details:
            statements = debate_details[detail_key] or [empty_text]
            turns.append(DebateTurn(translate(*PANEL_ROLE_NAMES[agent_role]), agent_role, statements))
    return turns


def _verdict_turns(translate: Translator, side: PairSide) -> list[DebateTurn]:
    """The first verdict and its review; a judge that keeps neither gave one verdict."""
    debate_details, turns = side.details, []
    if "first" in debate_details:
        first_verdict = _shown_verdict(translate, debate_details["first"])
        turns.append(DebateTurn(translate(*PANEL_ROLE_NAMES["judge"]), "judge", verdict=first_verdict))
    if "final" in debate_details:
        is_overturned = bool(debate_details.get("overturned"))
        review_outcome = translate("推翻初判：", "overturned: ") if is_overturned else translate("维持：", "upheld: ")
        lead_text = review_outcome if "first" in debate_details else ""
        final_verdict = _shown_verdict(translate, debate_details["final"], lead_text)
        css_kind = "overturned" if is_overturned else "reflect"
        turns.append(DebateTurn(translate(*PANEL_ROLE_NAMES["reflect"]), css_kind, verdict=final_verdict))
    # Principle and rubric judges keep neither round; their one verdict is shown as a conversation of one.
    if not turns:
        only_verdict = _shown_verdict(translate, {"verdict": side.value, "explanation": side.reason})
        turns.append(DebateTurn(translate("结论", "Verdict"), "judge", verdict=only_verdict))
    return turns


def _later_turns(translate: Translator, side: PairSide) -> list[DebateTurn]:
    """What came after the debate: a second opinion, and people."""
    turns = []
    if side.again is not None:
        second_verdict = _shown_verdict(translate, {"verdict": side.again.value, "explanation": side.again.reason})
        turns.append(DebateTurn(translate("再评", "Second opinion"), "reflect", verdict=second_verdict))
    if side.people:
        # Votes are stored as floats: “2 of 3” and not “2.0 of 3”.
        good_votes, vote_count = f"{sum(side.people):g}", len(side.people)
        vote_summary = translate(
            f"{vote_count} 人看过，{good_votes} 人说优秀", f"{good_votes} of {vote_count} call it excellent"
        )
        turns.append(DebateTurn(translate("大家", "People"), "people", summary=vote_summary))
    return turns


def _shown_verdict(translate: Translator, verdict_data: Mapping[str, Any], lead_text: str = "") -> ShownVerdict:
    verdict_value = verdict_data.get("verdict")
    if verdict_value is None:
        verdict_word = translate("未评", "unscored")
    else:
        verdict_word = translate("优秀", "excellent") if verdict_value else translate("不优秀", "not excellent")
    return ShownVerdict(bool(verdict_value), verdict_word, f"{lead_text}{verdict_data.get('explanation') or ''}")


def _decision_text(translate: Translator, decision: Decision) -> str:
    decider = decision.name or translate(*DECIDER_NAMES[decision.by])
    state_name = translate(*STATE_NAMES[decision.state])
    # The machine's own time, as the job list has it.
    summary = f"{decision.at.astimezone():%m-%d %H:%M} {decider}{translate('：', ': ')}{state_name}"
    return summary + (translate(f"（{decision.note}）", f" ({decision.note})") if decision.note else "")
