"""One pair as two conversations: what each agent said of each greeting, and who decided in the end."""

from collections.abc import Mapping
from typing import Any

from backend.pairs.records import Decision, PairDetail, Side
from backend.pairs.vocabulary import PairState
from ui.judge_names import ROLES, judge_title
from ui.pairs_words import DECIDERS, STATES, WISHED, state_pill
from ui.say import Say
from ui.widgets import esc


def debate_html(say: Say, pair: PairDetail) -> str:
    """The card of one pair."""
    flipped = pair.state is PairState.FLIPPED
    better, weaker = (pair.rejected, pair.chosen) if flipped else (pair.chosen, pair.rejected)
    return (
        f'<article class="zf-debate" id="zf-pair-{pair.id}"><header><h3>{esc(pair.prompt)}</h3>'
        f"{state_pill(say, pair.state)}<small>{esc(say(f'第 {pair.id} 对', f'pair {pair.id}'))} · "
        f"{esc(pair.run_name)}</small></header>"
        f'<div class="zf-pd-sides">{_side(say, better, True)}{_side(say, weaker, False)}</div>'
        f"{_history(say, pair.decisions)}{_provenance(say, pair)}</article>"
    )


def _provenance(say: Say, pair: PairDetail) -> str:
    hashes = " · ".join(f"{esc(name)} <code>{esc(hash_[:8])}</code>" for name, hash_ in pair.prompts.items())
    lines = [
        f"{say('裁判', 'judge')} {esc(judge_title(say, pair.judge))} <code>{esc(pair.judge_version)}</code>",
        *(
            [
                f"{say('再评', 'second opinion')} {esc(judge_title(say, pair.second_judge))} "
                f"<code>{esc(pair.second_version)}</code>"
            ]
            if pair.second_judge
            else []
        ),
        f"{say('提示词', 'prompts')} {hashes}",
        f"{say('表面差异（0 到 2）', 'surface difference (0 to 2)')} {pair.difference:.2f}",
        _calls(say("裁判认可的一条，调用", "calls on the accepted one"), pair.chosen),
        _calls(say("裁判否掉的一条，调用", "calls on the refused one"), pair.rejected),
    ]
    body = "".join(f"<p>{line}</p>" for line in lines)
    return f"<details><summary>{say('出处', 'Provenance')}</summary>{body}</details>"


def _calls(name: str, side: Side) -> str:
    seconds = side.again.details.get("calls", ()) if side.again else ()
    every = (side.call_id, *side.details.get("calls", ()), *seconds)
    calls = " ".join(f"<code>{esc(call)}</code>" for call in every)
    return f"{esc(name)} {calls}"


def _side(say: Say, side: Side, better: bool) -> str:
    name = say("入选", "chosen") if better else say("落选", "rejected")
    recipe = side.recipe
    how = [
        side.generator,
        f"{say('温度', 'temperature')} {recipe.get('temperature', '–')}",
        say("看过范例", "with examples") if recipe.get("examples") else say("没看范例", "no examples"),
        say(*WISHED.get(str(recipe.get("wished")), ("–", "–"))),
        say(f"{len(side.text)} 字", f"{len(side.text)} characters"),
    ]
    kind = "good" if better else "weak"
    return (
        f'<section class="zf-pd-side zf-pd-side-{kind}"><h4>{esc(name)}</h4>'
        f"<blockquote>{esc(side.text)}</blockquote>"
        f"<p>{' · '.join(esc(one) for one in how)}</p><ul>{_talk(say, side)}</ul></section>"
    )


def _talk(say: Say, side: Side) -> str:
    said, turns = side.details, []
    if said.get("examples"):
        shown = "".join(f"<li>{esc(one)}</li>" for _, one in said["examples"])
        turns.append(_turn(say("检索", "Retrieval"), "examples", f"<ul>{shown}</ul>"))
    for role, key, none in (
        ("positive", "merits", say("没有优点", "no merit")),
        ("negative", "faults", say("没有缺点", "no fault")),
    ):
        if key in said:
            lines = "".join(f"<li>{esc(one)}</li>" for one in said[key]) or f"<li>{esc(none)}</li>"
            turns.append(_turn(say(*ROLES[role]), role, f"<ul>{lines}</ul>"))
    if "first" in said:
        turns.append(_turn(say(*ROLES["judge"]), "judge", _verdict(say, said["first"])))
    if "final" in said:
        kept = say("推翻初判：", "overturned: ") if said.get("overturned") else say("维持：", "upheld: ")
        lead = kept if "first" in said else ""
        mark = "overturned" if said.get("overturned") else "reflect"
        turns.append(_turn(say(*ROLES["reflect"]), mark, _verdict(say, said["final"], lead)))
    if "first" not in said and "final" not in said:
        final = {"verdict": side.value, "explanation": side.reason}
        turns.append(_turn(say("结论", "Verdict"), "judge", _verdict(say, final)))
    if side.again is not None:
        told = {"verdict": side.again.value, "explanation": side.again.reason}
        turns.append(_turn(say("再评", "Second opinion"), "reflect", _verdict(say, told)))
    if side.people:
        good, many = f"{sum(side.people):g}", len(side.people)
        count = say(f"{many} 人看过，{good} 人说优秀", f"{good} of {many} call it excellent")
        turns.append(_turn(say("大家", "People"), "people", f"<p>{esc(count)}</p>"))
    return "".join(turns)


def _turn(who: str, kind: str, body: str) -> str:
    return f'<li class="zf-pd-turn zf-pd-turn-{kind}"><b>{esc(who)}</b><div>{body}</div></li>'


def _verdict(say: Say, said: Mapping[str, Any], lead: str = "") -> str:
    value = said.get("verdict")
    word = say("优秀", "excellent") if value else say("不优秀", "not excellent")
    if value is None:
        word = say("未评", "unscored")
    mark = "good" if value else "bad"
    return (
        f'<p><span class="zf-pill zf-pill-{mark}">{esc(word)}</span> '
        f"{esc(lead)}{esc(said.get('explanation') or '')}</p>"
    )


def _history(say: Say, decisions: tuple[Decision, ...]) -> str:
    if not decisions:
        nobody = say("还没有人看过这一对。", "Nobody has looked at this pair yet.")
        return f'<p class="zf-note">{esc(nobody)}</p>'
    lines = "".join(f"<li>{esc(_decision(say, one))}</li>" for one in decisions)
    return f'<ul class="zf-history">{lines}</ul>'


def _decision(say: Say, one: Decision) -> str:
    who = one.name or say(*DECIDERS[one.by])
    told = f"{one.at.astimezone():%m-%d %H:%M} {who}{say('：', ': ')}{say(*STATES[one.state])}"
    return told + (say(f"（{one.note}）", f" ({one.note})") if one.note else "")
