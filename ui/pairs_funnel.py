"""The funnel of a run: what each stage kept, what it lost and why; and how well the surface still tells."""

from collections.abc import Mapping

from backend.pairs.records import Funnel, PairRunInfo, Report
from backend.pairs.vocabulary import PairState
from backend.scoring.records import clock
from ui.judge_names import judge_title
from ui.pairs_words import STATES, loss
from ui.say import Say
from ui.widgets import esc, note

ONE_SIDED = "prompt_one_sided"
HELD = (PairState.CHECKING, PairState.REVIEW, PairState.DISCARDED)
"""States in which a pair is not used."""


def funnel_html(say: Say, run: PairRunInfo, funnel: Funnel) -> str:
    """Stages from above to below, each with its number, its bar and its losses."""
    most = max(funnel.prompts, funnel.candidates, funnel.possible, 1)
    dropped = funnel.dropped
    held = {f"pair_{name}": funnel.states.get(name, 0) for name in HELD}
    stages = (
        (say("请求", "Requests"), funnel.prompts, _losses(dropped, "prompt_", ONE_SIDED)),
        (say("候选", "Candidates"), funnel.candidates, _losses(dropped, "candidate_")),
        (say("经过评议", "Debated"), funnel.seen, _losses(dropped, "verdict_")),
        (say("可以配对", "Kept"), funnel.kept, _losses(dropped, ONE_SIDED)),
        (say("可能的对", "Possible pairs"), funnel.possible, _losses(dropped, "pair_", "pair_discarded")),
        (say("可用的偏好对", "Pairs in use"), funnel.pairs, _losses(held, "pair_")),
    )
    lines = "".join(_stage(say, name, count, most, losses) for name, count, losses in stages)
    return f'<ol class="zf-funnel">{lines}</ol>{_facts(say, run, funnel)}'


def _losses(dropped: Mapping[str, int], prefix: str, but: str = "") -> dict[str, int]:
    mine = {name: n for name, n in dropped.items() if n and name.startswith(prefix) and name != but}
    return dict(sorted(mine.items(), key=lambda item: -item[1]))


def _stage(say: Say, name: str, count: int, most: int, losses: Mapping[str, int]) -> str:
    chips = "".join(f"<li>{esc(loss(say, why))} <b>−{n:,}</b></li>" for why, n in losses.items())
    width = max(count / most, 0.004 if count else 0)
    return (
        f"<li><span>{esc(name)}</span><b>{count:,}</b>"
        f'<i aria-hidden="true"><u style="width:{width:.1%}"></u></i>'
        f"{f'<ul>{chips}</ul>' if chips else ''}</li>"
    )


def _facts(say: Say, run: PairRunInfo, funnel: Funnel) -> str:
    states = " · ".join(
        f"{esc(say(*STATES[PairState(name)]))} {count:,}" for name, count in funnel.states.items()
    )
    judge = f"{judge_title(say, run.request.judge.name)} {(run.judge_version or '')[:8]}"
    facts = [
        f"{say('裁判', 'judge')} {esc(judge)}",
        f"{say('调用', 'calls')} {run.calls:,}",
        f"{say('花费', 'cost')} {run.cost:.4f}",
        f"{say('用时', 'time')} {clock(run.seconds)}",
    ]
    if funnel.exact_chars:
        facts.append(
            say(f"指定字数的请求 {funnel.exact_chars:,}", f"{funnel.exact_chars:,} ask for exact characters")
        )
    told = f'<p class="zf-note">{" · ".join(facts)}</p>'
    if states:
        told += f'<p class="zf-note">{states}</p>'
    if funnel.notice is not None:
        told += note(say.of(funnel.notice))
    return told + (report_html(say, run.report) if run.report else "") + _waiting(say, run, funnel)


def report_html(say: Say, report: Report) -> str:
    """How well length and style alone tell chosen from rejected, before and after balancing."""

    def cell(name: str, before: float | None, after: float | None, limit: str) -> str:
        none = say("没有对", "no pairs") if not report.after.pairs else say("没测", "not measured")
        return (
            f"<div><b>{_share(after)}</b><span>{esc(name)}<small>"
            f"{say('配平前', 'before')} {_share(before)} · {esc(none if after is None else limit)}"
            "</small></span></div>"
        )

    cells = [
        cell(
            say("只看字数能猜中", "told by length alone"),
            report.before.length,
            report.after.length,
            say("应在 45–55%", "should be 45–55%"),
        ),
        cell(
            say("只看表面特征能猜中", "told by style alone"),
            report.before.style,
            report.after.style,
            say("应不超过 60%", "should be at most 60%"),
        ),
        f"<div><b>{report.after.pairs:,}</b><span>{say('配平后留下', 'left after balancing')}<small>"
        f"{say('为字数舍去', 'lost to length')} {report.lost_to_length:,} · "
        f"{say('为特征舍去', 'to style')} {report.lost_to_style:,}{_second(say, report)}"
        "</small></span></div>",
    ]
    figures = f'<div class="zf-figures zf-tight">{"".join(cells)}</div>'
    if report.thin is not None:
        figures += note(say.of(report.thin))
    if report.after.unsaid is not None:
        figures += f'<p class="zf-note">{esc(say.of(report.after.unsaid))}</p>'
    if report.after.balanced:
        return figures
    return figures + note(
        say(
            "这批对靠表面就能猜中，用它训练，模型学到的多半是长短和样子。可以多写几条候选，或不限长短，再配平。",
            "The surface still tells these pairs: a model trained on them learns length and looks. Write "
            "more candidates, or let lengths vary, and balance.",
        )
    )


def _second(say: Say, report: Report) -> str:
    if not report.lost_to_second:
        return ""
    return f" · {say('再评不认', 'to the second opinion')} {report.lost_to_second:,}"


def _waiting(say: Say, run: PairRunInfo, funnel: Funnel) -> str:
    held = funnel.states.get(PairState.CHECKING, 0)
    if not held or run.campaign is None:
        return ""
    return note(
        say(
            f"{held:,} 对在标注任务“{run.campaign}”里等人复核，复核前不会用于训练和导出。",
            f"{held:,} pairs wait for people in the campaign “{run.campaign}”; until then nobody uses them.",
        )
    )


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"
