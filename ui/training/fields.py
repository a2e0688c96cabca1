"""The settings of a training as boxes of a form, built from the typed settings, and their values back.

Also what fills the boxes: presets, the database's names, judges, an earlier job.
"""

import json
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

import gradio as gr
from pydantic import BaseModel

from backend.core.enums import ArtifactKind
from backend.core.errors import UserError
from backend.generation.serving import ARTIFACT_PREFIX, LATEST
from backend.judges.base import ASKING_KINDS
from backend.services import Services
from backend.training.settings import STARTER, find_presets, find_settings_class
from ui.components.form import BoxForm, EnteredValues
from ui.components.judges import endpoint_choices
from ui.components.language import BilingualText, Translator
from ui.components.widgets import caption_html, fill_tab, friendly_errors
from ui.training.names import ACTION_NAMES, PRESET_MACHINES, REWARD_NAMES

MONITOR_ACTION = "monitor.action"
# Open lists of options, different for each judge: a box for each would be a form of its own.
JSON_SETTINGS = frozenset({"judge", "monitor"})
# Offered by name, and anything else can be typed.
NAMED_SETTINGS = frozenset({"base", "reward_artifact", "endpoint"})
SETTING_LABELS: dict[str, BilingualText] = {
    "base": ("从哪个模型开始", "Base model"),
    "shape": ("入门模型的形状", "Shape of the starter"),
    "revision": ("模型版本（revision）", "Revision"),
    "remote_code": ("允许运行其自带代码的模型名", "Model whose own code may run"),
    "chat_template": ("对话模板（base 没有时）", "Chat template (of a base without)"),
    "thinking": ("先思考再回答（Qwen3 等）", "Think before answering (Qwen3)"),
    "name": ("给成果起个名字", "Name of the result"),
    "snapshot": ("数据快照（空则新导出）", "Data snapshot (empty: export one)"),
    "datasets": ("训练数据集（不选就是人给的全部）", "Data sets (none: all that came from people)"),
    "panel_pairs": (
        "不选数据集时，也用只有裁判评过的偏好对",
        "With none chosen: also pairs only a judge labelled",
    ),
    "exclude": ("不用这些数据集里的文本", "Exclude the texts of these data sets"),
    "test_datasets": ("测试集（不选则留出一成请求）", "Test data sets (none: a tenth of the requests)"),
    "seed": ("随机种子", "Seed"),
    "epochs": ("轮数", "Epochs"),
    "max_steps": ("最多步数（0 则按轮数）", "Steps at most (0: by epochs)"),
    "learning_rate": ("学习率", "Learning rate"),
    "scheduler": ("学习率变化", "Schedule"),
    "adam_beta2": ("Adam β₂", "Adam β₂"),
    "warmup": ("预热占比", "Warm-up share"),
    "weight_decay": ("权重衰减", "Weight decay"),
    "max_grad_norm": ("梯度裁剪", "Gradient clipping"),
    "batch_size": ("每批条数", "Batch size"),
    "accumulation": ("梯度累积", "Accumulation"),
    "max_length": ("最多 token（含请求）", "Tokens, request included"),
    "lora_rank": ("LoRA 秩（0 为全参数）", "LoRA rank (0: every weight)"),
    "lora_alpha": ("LoRA alpha", "LoRA alpha"),
    "lora_dropout": ("LoRA dropout", "LoRA dropout"),
    "device": ("设备", "Device"),
    "dtype": ("数值精度", "Precision"),
    "quantization": ("量化（4bit 即 QLoRA）", "Quantization (4bit: QLoRA)"),
    "attention": ("注意力实现", "Attention"),
    "processes": ("进程数（每个占一张显卡或一个核心）", "Processes, a GPU or core each"),
    "sharding": ("多卡分摊模型", "Sharding of the model"),
    "offload": ("分摊后放到内存（更慢）", "Shares rest in memory (slower)"),
    "gradient_checkpointing": ("省显存（慢约五分之一）", "Save memory (a fifth slower)"),
    "memory_check": ("显存估计不够时", "Where memory seems too small"),
    "threads": ("CPU 线程（0 为自动）", "CPU threads (0: automatic)"),
    "log_every": ("每几步记录", "Log every … steps"),
    "eval_every": ("每几步评估", "Evaluate every … steps"),
    "save_every": ("每几步保存（0 为自动）", "Save every … steps (0: automatic)"),
    "sample_every": ("每几步写样例", "Write samples every … steps"),
    "samples": ("样例条数", "Samples"),
    "composed": ("加上入门写作语料（data/starter）", "Add the starter's writing corpus"),
    "packing": ("拼接", "Packing"),
    "center_rewards": ("奖励居中的权重", "Centring of rewards"),
    "length_balanced": ("平衡长短（让长度说明不了好坏）", "Balance length in the pairs"),
    "debias": ("从分数中去掉长度的影响", "Take length out of the reward"),
    "label_smoothing": ("偏好标错的占比（robust）", "Share of turned pairs (robust)"),
    "ld_alpha": ("多出那段的权重（ld_alpha）", "Weight of the longer one's tail (ld_alpha)"),
    "sft_weight": ("同时学写好的一条：权重", "Weight of SFT on the chosen one"),
    "precompute_reference": ("先算好起点的似然（省显存）", "Compute the start's likelihoods first (saves memory)"),
    "prompts": ("每轮请求数", "Requests of a rollout"),
    "generations": ("每个请求写几条", "Greetings for each request"),
    "max_new_tokens": ("一条祝福最多 token", "Tokens of a greeting at most"),
    "temperature": ("采样温度", "Temperature"),
    "top_p": ("top-p", "top-p"),
    "beta": ("KL 权重（beta）", "Weight of the KL (beta)"),
    "loss_type": ("损失形式", "Loss"),
    "top_k": ("top-k（0 为不限）", "top-k (0: all)"),
    "prompt_template": ("请求前后的话，{request} 处放请求", "Words around every request, at {request} the request"),
    "importance_sampling_level": ("新旧策略之比：按 token 或按整条", "Ratio to the old policy, by token or greeting"),
    "epsilon": ("比值下限的裁剪（ε）", "Clipping below (ε)"),
    "epsilon_high": ("比值上限的裁剪（ε high）", "Clipping above (ε high)"),
    "scale_rewards": ("奖励除以谁的标准差", "Divide rewards by the spread of"),
    "num_iterations": ("一轮样本用几遍", "Passes over a rollout"),
    "mask_truncated_completions": ("不学写到上限被截断的", "Ignore greetings cut off at the limit"),
    "entropy_coef": ("熵奖励的权重", "Weight of the entropy bonus"),
    "resample_groups": ("零方差组最多重抽几次（0 为不重抽）", "Tries to replace groups without variance"),
    "vllm": ("用 vLLM 采样", "Rollouts by vLLM"),
    "vllm_memory": ("vLLM 占显存比例", "vLLM's share of the GPU"),
    "vllm_sleep": ("更新时 vLLM 让出显存", "vLLM sleeps while learning"),
    "vllm_server": ("vLLM 服务地址", "Address of the vLLM server"),
    "reward": ("奖励来自", "Reward by"),
    "reward_artifact": ("哪个奖励模型", "Which reward model"),
    "judge": ("裁判设置（JSON）", "Settings of the judge (JSON)"),
    "endpoint": ("裁判用的模型端点", "Endpoint of the judge"),
    "max_calls": ("最多调用裁判几次（0 为不限）", "Calls to the judge at most (0: no cap)"),
    "binary": ("只看合不合格（1 或 0）", "Pass or fail only (1 or 0)"),
    "unscored_rollouts": ("连续几轮全部未评就停止", "Wholly unscored rollouts that end it"),
    "reward_weight": ("奖励权重", "Weight of the reward"),
    "length_weight": ("字数项权重", "Weight of length"),
    "length_low": ("字数不少于", "Characters at least"),
    "length_high": ("字数不多于", "Characters at most"),
    "repetition_weight": ("不重复项权重", "Weight of no repetition"),
    "diversity_weight": ("不雷同项权重", "Weight of not being alike"),
    "format_weight": ("格式项权重", "Weight of form"),
    "fit_weight": ("切题项权重", "Weight of fit to the request"),
    "gold": ("旁观裁判", "Gold judge"),
    "gold_snapshot": ("旁观裁判的数据快照", "Snapshot of the gold judge"),
    "eval_prompts": ("监测用几个留出请求", "Held-out requests of the monitor"),
    MONITOR_ACTION: ("发现崩坏时", "When the model collapses"),
    "monitor": ("监测界限（JSON）", "Limits of the monitor (JSON)"),
}
_CHOICE_NAMES: dict[str, dict[str, BilingualText]] = {"reward": REWARD_NAMES, MONITOR_ACTION: ACTION_NAMES}


def setting_names(program: str) -> tuple[str, ...]:
    """Every setting of a program that the form shows."""
    field_names = list(find_settings_class(program).model_fields)
    if "monitor" in field_names:
        # A setting inside of another: shown as a box, since what happens on a collapse is what people do
        # decide.
        field_names.insert(field_names.index("monitor"), MONITOR_ACTION)
    return tuple(field_names)


def setting_box(translate: Translator, program: str, setting_name: str, **options: Any) -> gr.components.Component:
    """The box of a setting."""
    box_label, elem_id = (
        translate(*SETTING_LABELS.get(setting_name, (setting_name, setting_name))),
        f"zf-train-{program}-{setting_name.replace('.', '-')}",
    )
    box_options: dict[str, Any] = {"label": box_label, "elem_id": elem_id, "interactive": True} | options
    if setting_name == MONITOR_ACTION:
        return gr.Dropdown(choices=_named_choices(translate, setting_name, tuple(ACTION_NAMES)), **box_options)
    if setting_name in NAMED_SETTINGS:
        return gr.Dropdown(allow_custom_value=True, min_width=240, **box_options)
    annotation = find_settings_class(program).model_fields[setting_name].annotation
    # Read from the typed settings, so that a new setting has its box without a line here.
    if get_origin(annotation) is Literal:
        return gr.Dropdown(choices=_named_choices(translate, setting_name, get_args(annotation)), **box_options)
    if annotation is bool:
        return gr.Checkbox(**box_options)
    if annotation in (int, float, int | None):
        return gr.Number(**box_options, min_width=150)
    if annotation == tuple[str, ...]:
        return gr.Dropdown(choices=[], multiselect=True, allow_custom_value=True, **box_options)
    return gr.Textbox(max_length=20_000, lines=6 if setting_name in JSON_SETTINGS else 1, **box_options)


def shown_values(program: str, setting_values: Mapping[str, Any]) -> dict[str, Any]:
    """What the boxes show for settings, by name; defaults where a value is missing."""
    full_settings = (
        # Without validation: an earlier job may hold what is refused today, and its form must open to be
        # mended.
        find_settings_class(program).model_construct(**setting_values).model_dump(mode="json", warnings=False)
    )
    monitor_settings = dict(full_settings.get("monitor") or {})
    full_settings |= {
        MONITOR_ACTION: monitor_settings.pop("action", "stop"),
        "monitor": _json_text(monitor_settings),
    }
    if "judge" in full_settings:
        full_settings["judge"] = _json_text(full_settings["judge"])
    if "endpoint" in full_settings:
        full_settings["endpoint"] = full_settings["endpoint"] or ""
    return {setting_name: _box_list(full_settings.get(setting_name)) for setting_name in setting_names(program)}


def entered_settings(program: str, entered: EnteredValues) -> dict[str, Any]:
    """The settings that the boxes hold. Raises UserError for JSON that is none, KeyError for a box that is missing."""
    setting_values = {
        setting_name: _plain_value(program, setting_name, entered[setting_name])
        for setting_name in setting_names(program)
        if setting_name != MONITOR_ACTION
    }
    # Only a program with a monitor has the box.
    monitor_action = entered[MONITOR_ACTION] if MONITOR_ACTION in setting_names(program) else None
    if monitor_action is not None:
        setting_values["monitor"] = {**setting_values["monitor"], "action": monitor_action}
    return setting_values


def _plain_value(program: str, setting_name: str, box_value: Any) -> Any:
    if setting_name in JSON_SETTINGS:
        return _parse_object(setting_name, box_value or "{}")
    model_field = find_settings_class(program).model_fields[setting_name]
    if model_field.annotation == int | None:
        return box_value or None  # An empty box of numbers shows 0.
    if isinstance(box_value, str):
        stripped_text = box_value.strip()
        return stripped_text or (None if model_field.default is None else "")
    return box_value or [] if model_field.annotation == tuple[str, ...] else box_value


def _parse_object(setting_name: str, json_text: str) -> dict[str, Any]:
    try:
        parsed_json = json.loads(json_text)
    except ValueError:
        parsed_json = None
    # A bare number or list is good JSON too.
    if not isinstance(parsed_json, dict):
        zh, en = SETTING_LABELS[setting_name]
        raise UserError(f"{en}: this is no JSON object.", f"{zh}：这不是一个 JSON 对象。")
    return parsed_json


def _named_choices(translate: Translator, setting_name: str, choice_values: tuple[str, ...]) -> list[tuple[str, str]]:
    choice_names = _CHOICE_NAMES.get(setting_name, {})
    return [
        (
            translate(*choice_names[choice_value]) if choice_value in choice_names else choice_value,
            choice_value,
        )
        for choice_value in choice_values
    ]


def _json_text(json_value: Any) -> str:
    if isinstance(json_value, BaseModel):
        json_value = json_value.model_dump(mode="json")
    json_lines = (
        f"  {json.dumps(json_key)}: {json.dumps(item_value, ensure_ascii=False)}"
        for json_key, item_value in json_value.items()
    )
    return "{\n" + ",\n".join(json_lines) + "\n}" if json_value else "{}"


def _box_list(setting_value: Any) -> Any:
    return list(setting_value) if isinstance(setting_value, tuple) else setting_value


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
    box_form: BoxForm,
) -> None:
    """A preset sets every box; names come from the database whenever the tab opens."""

    @friendly_errors(translate)
    def load_choices() -> dict[Any, Any]:
        dataset_names = [dataset_info.name for dataset_info in services.corpus.datasets()]
        policy_choices = fixed_choices(translate, "base") + _artifact_choices(services, ArtifactKind.POLICY)
        return box_form.fill(
            {
                "datasets": gr.update(choices=dataset_names),
                "exclude": gr.update(choices=dataset_names),
                "test_datasets": gr.update(choices=dataset_names),
                "base": gr.update(choices=policy_choices),
            }
        )

    @friendly_errors(translate)
    def take_preset(preset_name: str) -> dict[Any, Any]:
        # The name comes from the browser.
        if preset_name not in find_presets(program):
            raise UserError("There is no such preset; choose another.", "没有这个预设，请另选一个。")
        machine_note = caption_html(translate(*PRESET_MACHINES[preset_name]))
        return {hint_block: machine_note, **box_form.fill(shown_values(program, find_presets(program)[preset_name]))}

    fill_tab(form_tab, load_choices, box_form.pick_outputs(("datasets", "exclude", "test_datasets", "base")))
    preset_dropdown.input(take_preset, preset_dropdown, [hint_block, *box_form.outputs], **SILENT_EVENT)


def wire_reward(
    services: Services,
    translate: Translator,
    form_tab: gr.Tab,
    judge_dropdown: gr.Dropdown,
    box_form: BoxForm,
) -> None:
    """What each kind of reward needs; a stored judge fills it."""
    copied_names = ("reward", "endpoint", "judge")

    @friendly_errors(translate)
    def load_choices() -> dict[Any, Any]:
        model_choices = fixed_choices(translate, "reward_artifact") + _artifact_choices(
            services, ArtifactKind.REWARD_MODEL
        )
        form_choices = {"reward_artifact": model_choices, "endpoint": endpoint_choices(services, translate)}
        return {
            judge_dropdown: gr.update(choices=_judge_choices(services, translate)),
            **box_form.fill({box_name: gr.update(choices=choices) for box_name, choices in form_choices.items()}),
        }

    @friendly_errors(translate)
    def fit_visibility(reward_kind: str) -> dict[Any, Any]:
        asks_endpoint = gr.update(visible=reward_kind in ASKING_KINDS)
        needs_model = gr.update(visible=reward_kind == "reward_model")
        box_updates = {"reward_artifact": needs_model, "endpoint": asks_endpoint, "max_calls": asks_endpoint}
        return {judge_dropdown: asks_endpoint, **box_form.fill(box_updates)}

    @friendly_errors(translate)
    def copy_judge(judge_id: int) -> dict[Any, Any]:
        if not judge_id:
            return box_form.fill(dict.fromkeys(copied_names, gr.skip()))
        judge_spec = services.scoring.catalog.judge(int(judge_id)).spec
        # Judges of pairs give no number for a greeting, which is what a reward is.
        if judge_spec is None or judge_spec.kind not in REWARD_NAMES:
            raise UserError("This judge gives no score to a single greeting.", "这个裁判不能给单条祝福评分。")
        setting_values = {
            "reward": judge_spec.kind.value,
            "endpoint": judge_spec.endpoint,
            "judge": dict(judge_spec.config),
        }
        shown_settings = shown_values("grpo", setting_values)
        return box_form.fill({setting_name: shown_settings[setting_name] for setting_name in copied_names})

    stored_boxes = [judge_dropdown, *box_form.pick_outputs(("reward_artifact", "endpoint"))]
    fill_tab(form_tab, load_choices, stored_boxes)
    reward_box = box_form["reward"]
    reward_box.change(fit_visibility, reward_box, [*stored_boxes, box_form["max_calls"]], **SILENT_EVENT)
    judge_dropdown.input(copy_judge, judge_dropdown, box_form.pick_outputs(copied_names), **SILENT_EVENT)


def _artifact_choices(services: Services, artifact_kind: ArtifactKind) -> ChoiceList:
    # A folder that was deleted by hand would only fail after the job has waited for its turn.
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
