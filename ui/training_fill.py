"""What fills the boxes of the training forms: presets, the database's names, judges, an earlier job."""

from typing import Any

import gradio as gr

from backend.errors import UserError
from backend.jobs.records import JobInfo
from backend.jobs.vocabulary import ArtifactKind
from backend.judges.spec import ASKING_KINDS
from backend.services import Services
from backend.training_runs.config import ARTIFACT_PREFIX, LATEST, STARTER, find_presets
from ui.judges_words import endpoint_choices
from ui.say import Translator
from ui.training_fields import setting_names, shown_values
from ui.training_words import PRESET_MACHINES, REWARD_NAMES
from ui.widgets import esc, fill_tab, friendly_errors

HUB_MODELS = ("Qwen/Qwen2.5-1.5B-Instruct", "Qwen/Qwen2.5-7B-Instruct")
SILENT_EVENT: dict[str, Any] = {"queue": False, "show_progress": "hidden"}
ChoiceList = list[tuple[str, str]]


def fixed_choices(translate: Translator, setting_name: str) -> ChoiceList:
    """What is always offered for a box, whatever the database holds."""
    if setting_name == "base":
        starter_choice = [(translate("入门小模型（从零训练）", "Starter (from scratch)"), STARTER)]
        newest_choice = (translate("最新训练好的写作模型", "The newest trained policy"), LATEST)
        return [*starter_choice, newest_choice, *((model_name, model_name) for model_name in HUB_MODELS)]
    if setting_name == "reward_artifact":
        return [(translate("最新训练好的奖励模型", "The newest reward model"), LATEST)]
    if setting_name == "endpoint":
        return [(translate("默认", "Default"), "")]
    return []


def wire_preset(
    services: Services,
    translate: Translator,
    program: str,
    form_tab: gr.Tab,
    preset_dropdown: gr.Dropdown,
    hint_block: gr.HTML,
    boxes_by_name: dict[str, Any],
) -> None:
    """A preset sets every box; names come from the database whenever the tab opens."""
    offered_boxes = [boxes_by_name["datasets"], boxes_by_name["exclude"], boxes_by_name["base"]]

    @friendly_errors(translate)
    def load_choices() -> list[Any]:
        dataset_names = [dataset_info.name for dataset_info in services.corpus.datasets()]
        policy_choices = fixed_choices(translate, "base") + _artifact_choices(services, ArtifactKind.POLICY)
        return [
            gr.update(choices=dataset_names),
            gr.update(choices=dataset_names),
            gr.update(choices=policy_choices),
        ]

    @friendly_errors(translate)
    def take_preset(preset_name: str) -> list[Any]:
        if preset_name not in find_presets(program):
            raise UserError("There is no such preset; choose another.", "没有这个预设，请另选一个。")
        machine_note = f'<p class="zf-note">{esc(translate(*PRESET_MACHINES[preset_name]))}</p>'
        return [machine_note, *shown_values(program, find_presets(program)[preset_name])]

    fill_tab(form_tab, load_choices, offered_boxes)
    preset_dropdown.input(
        take_preset,
        preset_dropdown,
        [hint_block, *(boxes_by_name[setting_name] for setting_name in setting_names(program))],
        **SILENT_EVENT,
    )


def wire_reward(
    services: Services,
    translate: Translator,
    form_tab: gr.Tab,
    judge_dropdown: gr.Dropdown,
    boxes_by_name: dict[str, Any],
) -> None:
    """What each kind of reward needs; a stored judge fills it."""
    reward_box, artifact_box, endpoint_box, calls_box = (
        boxes_by_name[name] for name in ("reward", "reward_artifact", "endpoint", "max_calls")
    )
    stored_boxes = (judge_dropdown, artifact_box, endpoint_box)

    @friendly_errors(translate)
    def load_choices() -> list[Any]:
        model_choices = fixed_choices(translate, "reward_artifact") + _artifact_choices(
            services, ArtifactKind.REWARD_MODEL
        )
        return [
            gr.update(choices=_judge_choices(services, translate)),
            gr.update(choices=model_choices),
            gr.update(choices=endpoint_choices(services, translate)),
        ]

    @friendly_errors(translate)
    def fit_visibility(reward_kind: str) -> list[Any]:
        asks_endpoint = reward_kind in ASKING_KINDS
        return [
            gr.update(visible=asks_endpoint),
            gr.update(visible=reward_kind == "reward_model"),
            gr.update(visible=asks_endpoint),
            gr.update(visible=asks_endpoint),
        ]

    @friendly_errors(translate)
    def copy_judge(judge_id: int) -> list[Any]:
        if not judge_id:
            return [gr.skip()] * 3
        judge_spec = services.scoring.catalog.judge(int(judge_id)).spec
        if judge_spec is None or judge_spec.kind not in REWARD_NAMES:
            raise UserError("This judge gives no score to a single greeting.", "这个裁判不能给单条祝福评分。")
        setting_values = {
            "reward": judge_spec.kind.value,
            "endpoint": judge_spec.endpoint,
            "judge": dict(judge_spec.config),
        }
        values_by_name = dict(zip(setting_names("grpo"), shown_values("grpo", setting_values), strict=True))
        return [values_by_name[setting_name] for setting_name in ("reward", "endpoint", "judge")]

    fill_tab(form_tab, load_choices, stored_boxes)
    reward_box.change(fit_visibility, reward_box, [*stored_boxes, calls_box], **SILENT_EVENT)
    judge_dropdown.input(copy_judge, judge_dropdown, [reward_box, endpoint_box, boxes_by_name["judge"]], **SILENT_EVENT)


def prefill(training_job: JobInfo) -> list[Any]:
    """The boxes of a job's program as that job was started."""
    return shown_values(training_job.kind, training_job.config)


def _artifact_choices(services: Services, artifact_kind: ArtifactKind) -> ChoiceList:
    available = [artifact for artifact in services.jobs.artifacts(artifact_kind) if artifact.path.is_dir()]
    return [(f"{artifact.name}（{artifact.id}）", f"{ARTIFACT_PREFIX}{artifact.id}") for artifact in available]


def _judge_choices(services: Services, translate: Translator) -> list[tuple[str, int]]:
    judge_choices = [
        (judge_info.name, judge_info.id)
        for judge_info in services.scoring.catalog.judges()
        if judge_info.newest
        and judge_info.spec
        and judge_info.spec.kind in ASKING_KINDS
        and judge_info.spec.kind in REWARD_NAMES
    ]
    return [(translate("不照搬", "None"), 0), *judge_choices]
