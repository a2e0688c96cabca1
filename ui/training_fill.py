"""What fills the boxes of the training forms: presets, the database's names, judges, an earlier job."""

from typing import Any

import gradio as gr

from backend.errors import UserError
from backend.jobs.records import JobInfo
from backend.jobs.vocabulary import ArtifactKind
from backend.judges.spec import ASKING
from backend.services import Services
from backend.training_runs.config import ARTIFACT, LATEST, STARTER, presets
from ui.judges_words import endpoint_choices
from ui.say import Say
from ui.training_fields import fields_of, shown
from ui.training_words import MACHINES, REWARDS
from ui.widgets import esc, fill_tab, polite

HUB = ("Qwen/Qwen2.5-1.5B-Instruct", "Qwen/Qwen2.5-7B-Instruct")
QUIET: dict[str, Any] = {"queue": False, "show_progress": "hidden"}
Choices = list[tuple[str, str]]


def names(say: Say, name: str) -> Choices:
    """What is always offered for a box, whatever the database holds."""
    if name == "base":
        scratch = [(say("入门小模型（从零训练）", "Starter (from scratch)"), STARTER)]
        newest = (say("最新训练好的写作模型", "The newest trained policy"), LATEST)
        return [*scratch, newest, *((hub, hub) for hub in HUB)]
    if name == "reward_artifact":
        return [(say("最新训练好的奖励模型", "The newest reward model"), LATEST)]
    if name == "endpoint":
        return [(say("默认", "Default"), "")]
    return []


def filling(
    services: Services,
    say: Say,
    program: str,
    tab: gr.Tab,
    preset: gr.Dropdown,
    hint: gr.HTML,
    made: dict[str, Any],
) -> None:
    """A preset sets every box; names come from the database whenever the tab opens."""
    offered = [made["datasets"], made["exclude"], made["base"]]

    @polite(say)
    def load() -> list[Any]:
        sets = [info.name for info in services.corpus.datasets()]
        policies = names(say, "base") + _artifacts(services, ArtifactKind.POLICY)
        return [gr.update(choices=sets), gr.update(choices=sets), gr.update(choices=policies)]

    @polite(say)
    def take(chosen: str) -> list[Any]:
        if chosen not in presets(program):
            raise UserError("There is no such preset; choose another.", "没有这个预设，请另选一个。")
        machine = f'<p class="zf-note">{esc(say(*MACHINES[chosen]))}</p>'
        return [machine, *shown(program, presets(program)[chosen])]

    fill_tab(tab, load, offered)
    preset.input(take, preset, [hint, *(made[name] for name in fields_of(program))], **QUIET)


def rewarding(services: Services, say: Say, tab: gr.Tab, pick: gr.Dropdown, made: dict[str, Any]) -> None:
    """What each kind of reward needs; a stored judge fills it."""
    reward, artifact, endpoint, calls = (
        made[name] for name in ("reward", "reward_artifact", "endpoint", "max_calls")
    )
    stored = (pick, artifact, endpoint)

    @polite(say)
    def load() -> list[Any]:
        models = names(say, "reward_artifact") + _artifacts(services, ArtifactKind.REWARD_MODEL)
        return [
            gr.update(choices=_judges(services, say)),
            gr.update(choices=models),
            gr.update(choices=endpoint_choices(services, say)),
        ]

    @polite(say)
    def fit(kind: str) -> list[Any]:
        asks = kind in ASKING
        return [
            gr.update(visible=asks),
            gr.update(visible=kind == "reward_model"),
            gr.update(visible=asks),
            gr.update(visible=asks),
        ]

    @polite(say)
    def copy(judge: int) -> list[Any]:
        if not judge:
            return [gr.skip()] * 3
        spec = services.scoring.catalog.judge(int(judge)).spec
        if spec is None or spec.kind not in REWARDS:
            raise UserError("This judge gives no score to a single greeting.", "这个裁判不能给单条祝福评分。")
        values = {"reward": spec.kind.value, "endpoint": spec.endpoint, "judge": dict(spec.config)}
        filled = dict(zip(fields_of("grpo"), shown("grpo", values), strict=True))
        return [filled[name] for name in ("reward", "endpoint", "judge")]

    fill_tab(tab, load, stored)
    reward.change(fit, reward, [*stored, calls], **QUIET)
    pick.input(copy, pick, [reward, endpoint, made["judge"]], **QUIET)


def prefill(job: JobInfo) -> list[Any]:
    """The boxes of a job's program as that job was started."""
    return shown(job.kind, job.config)


def _artifacts(services: Services, kind: ArtifactKind) -> Choices:
    found = [made for made in services.jobs.artifacts(kind) if made.path.is_dir()]
    return [(f"{made.name}（{made.id}）", f"{ARTIFACT}{made.id}") for made in found]


def _judges(services: Services, say: Say) -> list[tuple[str, int]]:
    known = [
        (info.name, info.id)
        for info in services.scoring.catalog.judges()
        if info.newest and info.spec and info.spec.kind in ASKING and info.spec.kind in REWARDS
    ]
    return [(say("不照搬", "None"), 0), *known]
