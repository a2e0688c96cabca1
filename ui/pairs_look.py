"""How runs of pairs look: the table of all, and the head of one with what its state means."""

from typing import Any

from backend.jobs.records import JobInfo
from backend.jobs.vocabulary import JobStatus
from backend.pairs.records import PairRunInfo
from backend.pairs.vocabulary import Stage
from ui import widgets
from ui.job_words import by_command, pill, share_bar
from ui.judge_names import judge_title
from ui.pairs_words import STAGES
from ui.say import Say
from ui.widgets import empty, esc, note, table


def at_work(job: JobInfo | None) -> bool:
    """Whether a job works on it, or will."""
    return job is not None and not job.ended


def stopped(run: PairRunInfo, job: JobInfo | None) -> bool:
    """Whether it ended before its pairs stand."""
    return run.stage is not Stage.DONE and run.playing is None and not at_work(job)


def capped(run: PairRunInfo) -> bool:
    """Whether it has a budget."""
    request = run.request
    return any(cap is not None for cap in (request.max_calls, request.max_tokens, request.max_cost))


def _used(say: Say, run: PairRunInfo) -> str:
    """What was used of each cap."""
    request = run.request
    parts = [
        say(f"调用 {run.calls:,} / {request.max_calls:,}", f"calls {run.calls:,} / {request.max_calls:,}")
        if request.max_calls is not None
        else "",
        say(
            f"token {run.tokens:,} / {request.max_tokens:,}",
            f"tokens {run.tokens:,} / {request.max_tokens:,}",
        )
        if request.max_tokens is not None
        else "",
        say(f"花费 {run.cost:.4f} / {request.max_cost:g}", f"cost {run.cost:.4f} / {request.max_cost:g}")
        if request.max_cost is not None
        else "",
    ]
    told = say("，", ", ").join(part for part in parts if part)
    return say(
        f"已用{told}。预算用完的话，先改上限再继续。", f"Used: {told}. Out of budget? Raise the cap first."
    )


def runs_html(
    say: Say,
    runs: list[PairRunInfo],
    jobs: dict[int, JobInfo | None],
    shares: dict[int, float | None],
    chosen: Any,
) -> str:
    """Every run in a line."""
    if not runs:
        return empty(
            say(
                "还没有偏好对。到“新的一批”选请求、写作的模型和裁判，几分钟就有第一批。",
                "No pairs yet. Under “New run” choose requests, models and a judge.",
            )
        )
    head = [
        say("批次", "Run"),
        say("状态", "State"),
        say("进度", "Progress"),
        say("谁写", "Writers"),
        say("谁评", "Judge"),
        say("对数", "Pairs"),
        say("只看字数", "By length"),
    ]
    rows = [_row(say, run, jobs[run.id], shares[run.id], run.id == chosen) for run in runs]
    return table(head, rows, ("", "zf-left", "zf-left", "zf-text", "zf-text"))


def _row(say: Say, run: PairRunInfo, job: JobInfo | None, share: float | None, here: bool) -> list[str]:
    mark = ' aria-current="true"' if here else ""
    link = (
        f'<a class="zf-a" data-run="{run.id}"{mark} href="?run={run.id}">{esc(f"{run.id} · {run.name}")}</a>'
    )
    after = run.report.after if run.report else None
    return [
        link,
        _state(say, run, job),
        esc(say(*STAGES[run.stage])) if share is None else share_bar(share),
        esc(say("、", ", ").join(run.request.plan.generators)),
        esc(judge_title(say, run.request.judge.name)),
        f"{after.pairs:,}" if after else "–",
        f"{after.length:.1%}" if after and after.length is not None else "–",
    ]


def _state(say: Say, run: PairRunInfo, job: JobInfo | None) -> str:
    if run.stage is Stage.DONE:
        return widgets.pill("good", "✓", say(*STAGES[run.stage]))
    if job is not None and job.status is not JobStatus.SUCCEEDED:
        return pill(say, job.status)
    if run.playing is not None:
        return pill(say, JobStatus.PAUSING if run.playing.stopping else JobStatus.RUNNING)
    return widgets.pill("wait", "‖", say("停下了", "stopped"))


def head_html(say: Say, run: PairRunInfo, job: JobInfo | None, share: float | None) -> str:
    """Name and state of one run, how far it is, and what to do about it."""
    progress = (
        f'<div class="zf-watch-bar">{share_bar(share)}<span>{esc(say(*STAGES[run.stage]))}</span></div>'
        if share is not None and (run.playing or at_work(job))
        else ""
    )
    head = f'<div class="zf-watch-head"><h3>{esc(run.name)}</h3>{_state(say, run, job)}</div>'
    return f"{head}{progress}{_words(say, run, job)}"


def _words(say: Say, run: PairRunInfo, job: JobInfo | None) -> str:
    if run.stage is Stage.DONE:
        return ""
    if job is None and run.playing is not None:
        return by_command(say, run.playing)
    if job and (told := job.error or job.waiting):
        return f'<p class="zf-error">{esc(say.of(told))}</p>'
    if not stopped(run, job):
        return ""
    return note(
        say(
            "还没做完就停了（暂停、取消、中断，或预算用完）。点“继续”从停下的地方接着做。",
            "It stopped before the end (paused, cancelled, broken off, or out of budget). "
            "Press Resume to go on.",
        )
        + (say("", " ") + _used(say, run) if capped(run) else "")
    )
