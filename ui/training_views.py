"""One job as a page shows it: how it stands, its curves, what it wrote, what the monitor said, its model."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pandas as pd

from backend.jobs.records import ArtifactInfo, JobInfo
from backend.training_runs.history import History, SampleText, thinned
from backend.training_runs.service import Address, size_of
from ui.job_words import bar, pill
from ui.say import Say
from ui.training_jobs import bytes_of, job_link
from ui.training_words import (
    ARTIFACTS,
    CURVES,
    METRICS,
    Curve,
    either,
    moment,
    progress_words,
    short,
    span,
    title_of,
)
from ui.widgets import empty, esc, note

Points = tuple[tuple[int, float, str], ...]
NEWEST = 3
"""Steps of a sample that stand open; earlier ones are a click away."""
REMARKS = ("监测", "unscored by", "警告")
NOW = (
    ("loss", ("损失", "loss")),
    ("reward", ("奖励", "reward")),
    ("kl", ("KL", "KL")),
    ("gold_excellence", ("旁观优秀率", "gold excellent")),
    ("held_out/length", ("字数", "characters")),
    ("tokens_per_second", ("token/秒", "tokens/s")),
    ("gpu_memory_gb", ("显存 GB", "GPU memory GB")),
)


def status_html(say: Say, job: JobInfo, history: History) -> str:
    """Head of the watched job: status, progress, times, newest figures, what is wrong."""
    error = note(say.of(job.error), "bad") if job.error else ""
    waiting = note(say.of(job.waiting)) if job.waiting else ""
    facts = [
        (say("开始", "started"), moment(job.started_at)),
        (say("用时", "took") if job.ended else say("已用", "so far"), _took(say, job)),
        (say("第几次运行", "attempt"), str(job.attempt)) if job.attempt > 1 else None,
        (say("设备", "device"), ", ".join(job.devices)) if job.devices else None,
        *((say(*name), short(value)) for key, name in NOW if (value := history.newest(key)) is not None),
    ]
    cells = "".join(f"<div><b>{esc(fact[1])}</b><span>{esc(fact[0])}</span></div>" for fact in facts if fact)
    heading = f"<h3>{job.id} · {esc(title_of(say, job))}</h3>"
    words = f"<span>{esc(progress_words(say, job))}</span>"
    return (
        f'<div class="zf-watch-head">{heading}{pill(say, job.status)}</div>'
        f'<div class="zf-watch-bar">{bar(job)}{words}</div>'
        f'{error}{waiting}<div class="zf-figures zf-tight">{cells}</div>'
    )


def points(say: Say, curve: Curve, history: History) -> Points:
    """The points of a plot, empty where the job does not report it; one point alone draws no line."""
    curves = [(say(*name), thinned(history.metrics.get(key, {}))) for key, name in curve.series.items()]
    return tuple((step, value, name) for name, found in curves if len(found) > 1 for step, value in found)


def frame(found: Points) -> pd.DataFrame:
    """Points as a plot takes them."""
    return pd.DataFrame(list(found), columns=["step", "value", "series"])


def all_points(say: Say, history: History) -> list[Points]:
    """The points of every plot."""
    return [points(say, curve, history) for curve in CURVES]


def remarks_html(say: Say, history: History) -> str:
    """What the monitor and the reward said, each line once."""
    told = [line for line in dict.fromkeys(history.lines) if line.startswith(REMARKS)]
    return "".join(note(either(say, line), "bad" if "停止" in line else "warn") for line in told)


def samples_html(say: Say, samples: Sequence[SampleText]) -> str:
    """What the model wrote for each fixed request, newest step first."""
    if not samples:
        return ""
    by_prompt: dict[str, list[SampleText]] = {}
    for sample in samples:
        by_prompt.setdefault(sample.prompt, []).insert(0, sample)
    cards = "".join(_card(say, prompt, said) for prompt, said in by_prompt.items())
    heading = say("样例：同样的请求，一步步看", "Samples: the same requests, step by step")
    return f'<h3 class="zf-h">{heading}</h3>{cards}'


def log_html(say: Say, lines: Sequence[str]) -> str:
    """The end of the log, scrolled to its end."""
    if not lines:
        return empty(say("还没有日志。", "No log yet."))
    text = "\n".join(lines)
    return f'<div class="zf-log" tabindex="0" role="log"><pre>{esc(text)}</pre></div>'


def artifact_html(say: Say, made: ArtifactInfo, serving: JobInfo | None, address: Address | None) -> str:
    """The model that a job left behind, and where it answers."""
    size = size_of(made.path)
    rows = "".join(
        f"<div><b>{esc(short(made.metrics[key]))}</b><span>{esc(say(*name))}</span></div>"
        for key, name in METRICS.items()
        if made.metrics.get(key) is not None
    )
    told = say("文件已不在", "files are gone") if size is None else bytes_of(size)
    head = (
        f'<h3 class="zf-h">{say("成果", "Result")} · {esc(made.name)}</h3><p class="zf-note">'
        f"{esc(say(*ARTIFACTS[made.kind]))} · {say('产物', 'artifact')} {made.id} · {told} · "
        f"{say('数据', 'data')} <code>{esc((made.data_hash or '–')[:12])}</code></p>"
    )
    return f'{head}<div class="zf-figures zf-tight">{rows}</div>{_serving(say, serving, address)}'


def _serving(say: Say, job: JobInfo | None, address: Address | None) -> str:
    if job is None:
        return ""
    link = job_link(say, job.id, say(f"任务 {job.id}", f"job {job.id}"))
    if address is None:
        starting = say("服务正在启动", "The service is starting")
        return f'<div class="zf-warn" role="status">{starting} · {link}</div>'
    where = f"<code>{esc(address.base_url)}</code> · {say('模型', 'model')} <code>{esc(address.model)}</code>"
    hint = say("填到“裁判 → 模型端点”即可使用。", "Enter it under Judges → Endpoints to use it.")
    return f'<div class="zf-ok" role="status">{say("服务地址", "Served at")} {where} · {link}<br>{hint}</div>'


def _card(say: Say, prompt: str, said: Sequence[SampleText]) -> str:
    lines = [
        f"<li><span>{say(f'第 {one.step} 步', f'step {one.step}')}</span><p>{esc(one.text) or '–'}</p></li>"
        for one in said
    ]
    earlier = ""
    if len(lines) > NEWEST:
        more = len(lines) - NEWEST
        words = say(f"更早的 {more} 步", f"{more} earlier")
        earlier = f"<details><summary>{words}</summary><ul>{''.join(lines[NEWEST:])}</ul></details>"
    return f'<div class="zf-sample"><b>{esc(prompt)}</b><ul>{"".join(lines[:NEWEST])}</ul>{earlier}</div>'


def _took(say: Say, job: JobInfo) -> str:
    if job.started_at is None:
        return "–"
    return span(say, (job.finished_at or datetime.now(UTC)) - job.started_at)
