"""Figures of a run: how it stands, gate scores with intervals, fooling by kind of flaw, the locked report."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from backend.agreement.figures import Figure
from backend.errors import Message
from backend.evolution.records import RunInfo, StepInfo, VersionInfo
from backend.evolution.reporting import ReportRow
from backend.jobs.records import JobInfo
from backend.jobs.vocabulary import JobStatus
from backend.principles.vocabulary import Agent, Phase, Role, RunState
from backend.writing.generators import is_policy
from ui.board_view import figure_on
from ui.job_words import by_command, pill
from ui.principles_words import PARTS, PHASES, UNTOLD, flaw_name, outcome_pill, state_pill, why
from ui.say import FLAWS, Say
from ui.widgets import empty, esc, note, table

WIDTH, HEIGHT, LEFT, BOTTOM = 640, 220, 44, 34


def status_html(say: Say, info: RunInfo, job: JobInfo | None) -> str:
    """Head of the watched run."""
    lost = info.broken_off or (info.state is RunState.QUEUED and job is not None and job.ended)
    sign = pill(say, job.status) if lost and job and job.ended else state_pill(say, info)
    number, _, phase = info.told.partition(".")
    where = ""
    if info.playing is not None and phase:
        name = say(*PHASES[Phase(phase)])
        where = say(f"第 {number} 轮 · {name}", f"round {number} · {name}") if number != "0" else name
    share = f'<progress max="1" value="{job.progress:.4f}"></progress>' if job and not job.ended else ""
    facts = [
        (say("轮", "rounds"), f"{info.rounds} / {info.settings.rounds}"),
        (say("采纳", "accepted"), str(info.accepted)),
        (say("未采纳", "rejected"), str(info.rejected)),
        (say("调用", "calls"), f"{info.calls:,}"),
        ("token", f"{info.tokens:,}"),
        (say("花费", "cost"), f"{info.cost:.4f}"),
    ]
    cells = "".join(f"<div><b>{esc(value)}</b><span>{esc(name)}</span></div>" for name, value in facts)
    labels = " · ".join(
        f"{say(*PARTS[part])} {info.labels[part]['good']} + {info.labels[part]['bad']}" for part in PARTS
    )
    hint = say("（好 + 坏，按请求分开）", " (good + bad, dealt by request)")
    writer = info.endpoints[Agent.GENERATOR]
    own = f'<p class="zf-note"><b>{esc(writer["model"])}</b> {say(*UNTOLD)}</p>'
    return (
        f'<div class="zf-watch-head"><h3>{info.id} · {esc(info.dataset)}</h3>{sign}<span>{esc(where)}</span>'
        f"{share}</div>{_trouble(say, info, job, lost)}"
        f'<div class="zf-figures zf-tight">{cells}</div><p class="zf-note">{labels}{hint}</p>'
        f"{own if is_policy(writer['name']) else ''}"
    )


def _trouble(say: Say, info: RunInfo, job: JobInfo | None, lost: bool) -> str:
    if info.playing is not None and (job is None or job.ended):
        return by_command(say, info.playing)
    if lost and not (job is not None and job.status in (JobStatus.PAUSED, JobStatus.CANCELLED)):
        told = say.of(job.error) if job is not None and job.error else ""
        gone = say("进行它的进程已经不在；", "Its process is gone; ") if not told else ""
        kept = say("已完成的阶段都在，可以继续。", "finished phases are kept, resume it.")
        return note(f"{told} {gone}{kept}", "bad")
    if info.state is RunState.BUDGET:
        return note(
            say(
                "预算用完了，停在这一轮中间；填一个更高的上限，点“继续”。",
                "The budget ended in mid-round; enter a higher cap and resume.",
            ),
        )
    return note(say.of(info.error), "bad") if info.error else ""


def side_by_side(say: Say, versions: Sequence[VersionInfo]) -> str:
    """The present S_D and S_G of a run."""
    cards = []
    for role in Role:
        own = [one for one in versions if one.role is role and one.accepted]
        if own:
            cards.append(rules_card(say, own[-1]))
    return f'<div class="zf-cards">{"".join(cards)}</div>'


def rules_card(say: Say, one: VersionInfo) -> str:
    """A version with its rules and what each was learnt from."""
    rules = "".join(f"<li>{esc(rule.text)}{_evidence(say, rule.evidence)}</li>" for rule in one.rules.rules)
    measured = Figure(one.score, one.low, one.high)
    score = f"{say('把关', 'gate')} {_interval(measured)}" if one.score is not None else ""
    now = f" · {say('当前', 'current')}" if one.current else ""
    used = ""
    if one.calls:
        spent = f"{one.calls:,}", f"{one.cost:.4f}"
        used = say(f" · {spent[0]} 次调用、花费 {spent[1]}", f" · {spent[0]} calls, cost {spent[1]}")
    signed = f" · {esc(one.author)}：{esc(one.note)}" if one.author else ""
    return (
        f'<div class="zf-card"><h3>{one.role} v{one.id}</h3><p class="zf-note">{outcome_pill(say, one)} '
        f"{score}{now}{used}{signed}</p><ol>{rules}</ol><small>{esc(why(say, one))}</small></div>"
    )


def curve(say: Say, versions: Sequence[VersionInfo]) -> str:
    """Gate score of every S_D that came to the gate, with its 95 % interval."""
    found = [one for one in versions if one.role is Role.DETECTOR and one.score is not None]
    if not found:
        return ""
    low = min((one.low if one.low is not None else one.score or 0) for one in found)
    high = max((one.high if one.high is not None else one.score or 0) for one in found)
    bottom, top = max(0.0, low - 0.03), min(1.0, high + 0.03)
    span = max(top - bottom, 0.05)

    def height(value: float) -> float:
        return (HEIGHT - BOTTOM) * (1 - (value - bottom) / span) + 8

    step = (WIDTH - LEFT - 30) / max(len(found), 2)
    ticks = [bottom + span * part / 4 for part in range(5)]
    grid = "".join(
        f'<line class="zf-grid" x1="{LEFT}" x2="{WIDTH}" y1="{height(tick):.1f}" y2="{height(tick):.1f}"/>'
        f'<text x="{LEFT - 8}" y="{height(tick) + 4:.1f}" text-anchor="end">{tick:.2f}</text>'
        for tick in ticks
    )
    dots = "".join(_dot(say, one, LEFT + 24 + step * place, height) for place, one in enumerate(found))
    title = say(
        "每个 S_D 在把关集上的准确率（95% 区间）", "Accuracy of each S_D on the gate set (95 % interval)"
    )
    legend = say("实心：采纳；空心：未采纳", "filled: accepted; hollow: rejected")
    return (
        f'<h3 class="zf-h">{title}</h3><div class="zf-scroll"><svg class="zf-curve" role="img" '
        f'viewBox="0 0 {WIDTH} {HEIGHT + 14}" aria-label="{esc(title)}">{grid}{dots}</svg></div>'
        f'<p class="zf-note">{legend}</p>'
    )


def _dot(say: Say, one: VersionInfo, x: float, height: Any) -> str:
    kind = "in" if one.accepted else "out"
    bars = ""
    if one.low is not None and one.high is not None:
        bars = f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{height(one.low):.1f}" y2="{height(one.high):.1f}"/>'
    told = esc(f"v{one.id} {one.score:.3f} {why(say, one)}")
    return (
        f'<g class="zf-dot-{kind}"><title>{told}</title>{bars}'
        f'<circle cx="{x:.1f}" cy="{height(one.score):.1f}" r="5"/>'
        f'<text x="{x:.1f}" y="{HEIGHT}" text-anchor="middle">v{one.id}</text></g>'
    )


def fooling(say: Say, steps: Sequence[StepInfo]) -> str:
    """By kind of flaw: how many planted ones slipped through, and how many of those are really there."""
    judged: Counter[str] = Counter()
    fooled: Counter[str] = Counter()
    there: Counter[str] = Counter()
    claims = {step.round: step.data["claims"] for step in steps if step.phase == Phase.CONFIRM}
    for step in steps:
        if step.phase != Phase.ADVERSARY:
            continue
        for place, case in enumerate(step.data["cases"]):
            if case["value"] is None:
                continue
            judged[case["flaw"]] += 1
            fooled[case["flaw"]] += case["value"] == 1
            claim = claims.get(step.round, {}).get(str(place))
            there[case["flaw"]] += bool(claim and claim[0])
    if not judged:
        return ""
    rows = [
        [
            esc(flaw_name(say, flaw)),
            f'<span class="zf-rate"><i style="width:{fooled[flaw] / judged[flaw]:.0%}"></i></span>',
            f"{fooled[flaw] / judged[flaw]:.0%}",
            f"{fooled[flaw]} / {judged[flaw]}",
            str(there[flaw]),
        ]
        for flaw in FLAWS
        if judged[flaw]
    ]
    head = [
        say("缺陷", "Flaw"),
        say("骗过评审的比例", "Slipped through"),
        "",
        say("条", "cases"),
        say("核对属实", "confirmed"),
    ]
    title = say("哪类缺陷最能骗过评审", "Which flaws slip through")
    return f'<h3 class="zf-h">{title}</h3>{table(head, rows, ("", "zf-left"))}'


def locked_table(say: Say, rows: Sequence[ReportRow], uses: Message) -> str:
    """The locked report: where it began, a plain rewriting, what was found, the baselines, and who looked
    at these labels before."""
    names = {
        "start": say("起点 S_D", "first S_D"),
        "rewrite": say("一次改写（无把关）", "one rewriting, ungated"),
        "game": say("对局找到的", "found by the game"),
        "gepa": say("GEPA 找到的", "found by GEPA"),
        "length": say("基线：字数", "baseline: length"),
        "style": say("基线：表面特征", "baseline: style"),
        "ngram": say("基线：n-gram", "baseline: n-gram"),
    }
    head = [
        say("裁判", "Judge"),
        "n",
        say("未评", "unscored"),
        say("准确率", "accuracy"),
        "Cohen κ",
        "AUC",
        say("等长 AUC", "length-matched AUC"),
        say("调用", "calls"),
        say("花费", "cost"),
    ]
    shown = []
    for one in rows:
        made = f"<small>v{one.version}</small>" if one.version else ""
        run = say(f"（运行 {one.run}）", f" (run {one.run})") if one.calls is not None else ""
        shown.append(
            [
                f"<b>{esc(names.get(one.name, one.name))}</b>{esc(run)}{made}",
                str(one.figures.get("n", "–")),
                str(one.figures.get("unscored", "–")),
                *(
                    _figure(say, one.figures.get(name), one.figures.get("n"))
                    for name in ("accuracy", "kappa", "auc", "matched_auc")
                ),
                "–" if one.calls is None else f"{one.calls:,}",
                "–" if one.cost is None else f"{one.cost:.4f}",
            ]
        )
    title = say("封存集：本次运行只在最后打开一次", "The locked set, opened once at the end of this run")
    return f'<h3 class="zf-h">{title}</h3>{table(head, shown)}<p class="zf-note">{esc(say.of(uses))}</p>'


def plain_rows(info: RunInfo) -> list[ReportRow]:
    """The rows that the run itself kept, before the fitted baselines join them."""
    names = {"best": info.settings.search.value}
    return [
        ReportRow(
            names.get(row["name"], row["name"]),
            info.id,
            {"best": info.best, "start": info.detector}.get(row["name"]),
            info.calls if row["name"] == "best" else None,
            info.cost if row["name"] == "best" else None,
            dict(row),
        )
        for row in (info.locked or {}).get("rows", ())
    ]


def comparison_html(say: Say, result: Mapping[str, Any] | None) -> str:
    """Two S_D on the same labels."""
    if result is None:
        return note(say("正在评判，稍等…", "They are reading the labels…"))
    head = [
        "S_D",
        "n",
        say("未评", "unscored"),
        say("准确率", "accuracy"),
        "Cohen κ",
        "AUC",
        say("等长 AUC", "matched AUC"),
    ]
    rows = [
        [
            esc(row["name"]),
            str(row["n"]),
            str(row["unscored"]),
            *(_figure(say, row[name], row["n"]) for name in ("accuracy", "kappa", "auc", "matched_auc")),
        ]
        for row in result["rows"]
    ]
    change = result["change"]
    told = say(
        f"后者改对 {change['fixed']} 条、改错 {change['broken']} 条，p = {change['p']:.3g}",
        f"The second mends {change['fixed']} and breaks {change['broken']}, p = {change['p']:.3g}",
    )
    return f'{table(head, rows)}<p class="zf-note">{told}</p>'


def tree(say: Say, versions: Sequence[VersionInfo], chosen: int | None) -> str:
    """All versions as a tree, each under its parent."""
    if not versions:
        return empty(say("还没有任何版本；开始一次运行就有了。", "No versions yet; a run brings the first."))
    children: dict[int | None, list[VersionInfo]] = {}
    known = {one.id for one in versions}
    for one in versions:
        children.setdefault(one.parent if one.parent in known else None, []).append(one)

    def branch(parent: int | None) -> str:
        own = children.get(parent, [])
        rows = "".join(f"<li>{_node(say, one, one.id == chosen)}{branch(one.id)}</li>" for one in own)
        return f"<ul>{rows}</ul>" if own else ""

    return f'<div class="zf-tree">{branch(None)}</div>'


def _node(say: Say, one: VersionInfo, here: bool) -> str:
    score = f"<b>{_interval(Figure(one.score, one.low, one.high))}</b>" if one.score is not None else ""
    mark = ' aria-current="true"' if here else ""
    where = say(f"运行 {one.run} 第 {one.round} 轮", f"run {one.run}, round {one.round}") if one.round else ""
    told = " · ".join(filter(None, [where, esc(one.author), esc(why(say, one))]))
    now = f'<span class="zf-chip">{say("当前", "current")}</span>' if one.current else ""
    return (
        f'<button type="button" class="zf-node" data-version="{one.id}"{mark}>v{one.id} {one.role}</button>'
        f"{outcome_pill(say, one)}{score}{now}<small>{told}</small>"
    )


def _evidence(say: Say, sources: Sequence[str]) -> str:
    if not sources:
        return ""
    shown = say("、", ", ").join(_source(say, one) for one in sources[:4]) + ("…" if len(sources) > 4 else "")
    return f'<small class="zf-evidence">{say("依据", "from")} {esc(shown)}</small>'


def _source(say: Say, source: str) -> str:
    """What a rule was learnt from, in words: `r3.a2` is the third planted flaw of round 3."""
    found = re.fullmatch(r"r(\d+)\.([al])(\d+)", source)
    if found is None:
        label = source.removeprefix("g")
        return say(f"标签 {label}", f"label {label}") if source.startswith("g") else source
    number, place = found[1], int(found[3]) + 1
    if found[2] == "a":
        return say(f"第 {number} 轮对抗第 {place} 条", f"round {number}, planted flaw {place}")
    return say(f"第 {number} 轮复盘第 {place} 条", f"round {number}, label {place}")


def _interval(value: Figure) -> str:
    if value.value is None:
        return "–"
    if value.low is None or value.high is None:
        return f"{value.value:.3f}"
    return f"{value.value:.3f} [{value.low:.3f}, {value.high:.3f}]"


def _figure(say: Say, value: Mapping[str, Any] | None, n: int | None) -> str:
    if not value:
        return "–"
    told = Message(*value["why"]) if value.get("why") else None
    return figure_on(say, Figure(value["value"], value["low"], value["high"], told, value.get("n")), n)
