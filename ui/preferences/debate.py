"""One pair as two conversations: what each agent said of each greeting, and who decided in the end."""

from collections.abc import Mapping
from typing import Any

from backend.core.enums import PairState
from backend.preferences.records import Decision, PairDetail, PairSide
from ui.components.judges import PANEL_ROLE_NAMES, judge_title
from ui.components.language import Translator
from ui.components.widgets import esc
from ui.preferences.views import DECIDER_NAMES, REQUESTED_LENGTHS, STATE_NAMES, state_pill


def debate_html(translate: Translator, pair: PairDetail) -> str:
    """The card of one pair."""
    is_flipped = pair.state is PairState.FLIPPED
    better, weaker = (pair.rejected, pair.chosen) if is_flipped else (pair.chosen, pair.rejected)
    return (
        f'<article class="zf-debate" id="zf-pair-{pair.id}"><header><h3>{esc(pair.prompt)}</h3>'
        f"{state_pill(translate, pair.state)}<small>{esc(translate(f'第 {pair.id} 对', f'pair {pair.id}'))} · "
        f"{esc(pair.run_name)}</small></header>"
        f'<div class="zf-pd-sides">{_side_html(translate, better, True)}{_side_html(translate, weaker, False)}</div>'
        f"{_history_html(translate, pair.decisions)}{_provenance_html(translate, pair)}</article>"
    )


def _provenance_html(translate: Translator, pair: PairDetail) -> str:
    prompt_hashes = " · ".join(
        f"{esc(prompt_name)} <code>{esc(prompt_hash[:8])}</code>" for prompt_name, prompt_hash in pair.prompts.items()
    )
    provenance_lines = [
        f"{translate('裁判', 'judge')} {esc(judge_title(translate, pair.judge))} <code>{esc(pair.judge_version)}</code>",
        *(
            [
                f"{translate('再评', 'second opinion')} {esc(judge_title(translate, pair.second_judge))} "
                f"<code>{esc(pair.second_version)}</code>"
            ]
            if pair.second_judge
            else []
        ),
        f"{translate('提示词', 'prompts')} {prompt_hashes}",
        f"{translate('表面差异（0 到 2）', 'surface difference (0 to 2)')} {pair.difference:.2f}",
        _calls_html(translate("裁判认可的一条，调用", "calls on the accepted one"), pair.chosen),
        _calls_html(translate("裁判否掉的一条，调用", "calls on the refused one"), pair.rejected),
    ]
    body_html = "".join(f"<p>{provenance_line}</p>" for provenance_line in provenance_lines)
    return f"<details><summary>{translate('出处', 'Provenance')}</summary>{body_html}</details>"


def _calls_html(calls_label: str, side: PairSide) -> str:
    second_call_ids = side.again.details.get("calls", ()) if side.again else ()
    call_ids = (side.call_id, *side.details.get("calls", ()), *second_call_ids)
    calls_html = " ".join(f"<code>{esc(call_id)}</code>" for call_id in call_ids)
    return f"{esc(calls_label)} {calls_html}"


def _side_html(translate: Translator, side: PairSide, is_better: bool) -> str:
    side_label = translate("入选", "chosen") if is_better else translate("落选", "rejected")
    recipe = side.recipe
    traits = [
        side.generator,
        f"{translate('温度', 'temperature')} {recipe.get('temperature', '–')}",
        translate("看过范例", "with examples") if recipe.get("examples") else translate("没看范例", "no examples"),
        translate(*REQUESTED_LENGTHS.get(str(recipe.get("wished")), ("–", "–"))),
        translate(f"{len(side.text)} 字", f"{len(side.text)} characters"),
    ]
    css_kind = "good" if is_better else "weak"
    return (
        f'<section class="zf-pd-side zf-pd-side-{css_kind}"><h4>{esc(side_label)}</h4>'
        f"<blockquote>{esc(side.text)}</blockquote>"
        f"<p>{' · '.join(esc(trait) for trait in traits)}</p><ul>{_agent_turns(translate, side)}</ul></section>"
    )


def _agent_turns(translate: Translator, side: PairSide) -> str:
    debate_details, turn_items = side.details, []
    if debate_details.get("examples"):
        example_items = "".join(f"<li>{esc(statement)}</li>" for _, statement in debate_details["examples"])
        turn_items.append(_turn_html(translate("检索", "Retrieval"), "examples", f"<ul>{example_items}</ul>"))
    for agent_role, detail_key, empty_text in (
        ("positive", "merits", translate("没有优点", "no merit")),
        ("negative", "faults", translate("没有缺点", "no fault")),
    ):
        if detail_key in debate_details:
            statement_items = (
                "".join(f"<li>{esc(statement)}</li>" for statement in debate_details[detail_key])
                or f"<li>{esc(empty_text)}</li>"
            )
            turn_items.append(
                _turn_html(translate(*PANEL_ROLE_NAMES[agent_role]), agent_role, f"<ul>{statement_items}</ul>")
            )
    if "first" in debate_details:
        turn_items.append(
            _turn_html(
                translate(*PANEL_ROLE_NAMES["judge"]),
                "judge",
                _verdict_html(translate, debate_details["first"]),
            )
        )
    if "final" in debate_details:
        review_outcome = (
            translate("推翻初判：", "overturned: ")
            if debate_details.get("overturned")
            else translate("维持：", "upheld: ")
        )
        lead_text = review_outcome if "first" in debate_details else ""
        css_kind = "overturned" if debate_details.get("overturned") else "reflect"
        turn_items.append(
            _turn_html(
                translate(*PANEL_ROLE_NAMES["reflect"]),
                css_kind,
                _verdict_html(translate, debate_details["final"], lead_text),
            )
        )
    if "first" not in debate_details and "final" not in debate_details:
        final_verdict = {"verdict": side.value, "explanation": side.reason}
        turn_items.append(_turn_html(translate("结论", "Verdict"), "judge", _verdict_html(translate, final_verdict)))
    if side.again is not None:
        second_verdict = {"verdict": side.again.value, "explanation": side.again.reason}
        turn_items.append(
            _turn_html(translate("再评", "Second opinion"), "reflect", _verdict_html(translate, second_verdict))
        )
    if side.people:
        good_votes, vote_count = f"{sum(side.people):g}", len(side.people)
        vote_summary = translate(
            f"{vote_count} 人看过，{good_votes} 人说优秀", f"{good_votes} of {vote_count} call it excellent"
        )
        turn_items.append(_turn_html(translate("大家", "People"), "people", f"<p>{esc(vote_summary)}</p>"))
    return "".join(turn_items)


def _turn_html(speaker: str, css_kind: str, body_html: str) -> str:
    return f'<li class="zf-pd-turn zf-pd-turn-{css_kind}"><b>{esc(speaker)}</b><div>{body_html}</div></li>'


def _verdict_html(translate: Translator, verdict_data: Mapping[str, Any], lead_text: str = "") -> str:
    verdict_value = verdict_data.get("verdict")
    verdict_word = translate("优秀", "excellent") if verdict_value else translate("不优秀", "not excellent")
    if verdict_value is None:
        verdict_word = translate("未评", "unscored")
    css_kind = "good" if verdict_value else "bad"
    return (
        f'<p><span class="zf-pill zf-pill-{css_kind}">{esc(verdict_word)}</span> '
        f"{esc(lead_text)}{esc(verdict_data.get('explanation') or '')}</p>"
    )


def _history_html(translate: Translator, decisions: tuple[Decision, ...]) -> str:
    if not decisions:
        empty_text = translate("还没有人看过这一对。", "Nobody has looked at this pair yet.")
        return f'<p class="zf-note">{esc(empty_text)}</p>'
    decision_items = "".join(f"<li>{esc(_decision_text(translate, decision))}</li>" for decision in decisions)
    return f'<ul class="zf-history">{decision_items}</ul>'


def _decision_text(translate: Translator, decision: Decision) -> str:
    decider = decision.name or translate(*DECIDER_NAMES[decision.by])
    summary = f"{decision.at.astimezone():%m-%d %H:%M} {decider}{translate('：', ': ')}{translate(*STATE_NAMES[decision.state])}"
    return summary + (translate(f"（{decision.note}）", f" ({decision.note})") if decision.note else "")
