"""The settings of a training as boxes of a form, made from the typed settings, and their values back."""

import json
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

import gradio as gr
from pydantic import BaseModel

from backend.errors import UserError
from backend.training_runs.config import settings_type
from ui.say import Say
from ui.training_words import ACTIONS, REWARDS, Words

ACTION = "monitor.action"
WIDE = frozenset({"judge", "monitor"})
NAMED = frozenset({"base", "reward_artifact", "endpoint"})
"""Offered by name, and anything else can be typed."""
LABELS: dict[str, Words] = {
    "base": ("从哪个模型开始", "Base model"),
    "shape": ("入门模型的形状", "Shape of the starter"),
    "revision": ("模型版本（revision）", "Revision"),
    "name": ("给成果起个名字", "Name of the result"),
    "snapshot": ("数据快照（空则新导出）", "Data snapshot (empty: export one)"),
    "datasets": ("训练数据集（不选就是人给的全部）", "Data sets (none: all that came from people)"),
    "panel_pairs": (
        "不选数据集时，也用只有裁判评过的偏好对",
        "With none chosen: also pairs only a judge labelled",
    ),
    "exclude": ("不用这些数据集里的文本", "Exclude the texts of these data sets"),
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
    "gradient_checkpointing": ("省显存（慢约五分之一）", "Save memory (a fifth slower)"),
    "threads": ("CPU 线程（0 为自动）", "CPU threads (0: automatic)"),
    "log_every": ("每几步记录", "Log every … steps"),
    "eval_every": ("每几步评估", "Evaluate every … steps"),
    "save_every": ("每几步保存", "Save every … steps"),
    "sample_every": ("每几步写样例", "Write samples every … steps"),
    "samples": ("样例条数", "Samples"),
    "composed": ("加上入门写作语料（data/starter）", "Add the starter's writing corpus"),
    "packing": ("拼接", "Packing"),
    "center_rewards": ("奖励居中的权重", "Centring of rewards"),
    "length_balanced": ("平衡长短（让长度说明不了好坏）", "Balance length in the pairs"),
    "debias": ("从分数中去掉长度的影响", "Take length out of the reward"),
    "prompts": ("每轮请求数", "Requests of a rollout"),
    "generations": ("每个请求写几条", "Greetings for each request"),
    "max_new_tokens": ("一条祝福最多 token", "Tokens of a greeting at most"),
    "temperature": ("采样温度", "Temperature"),
    "top_p": ("top-p", "top-p"),
    "beta": ("KL 权重（beta）", "Weight of the KL (beta)"),
    "loss_type": ("损失形式", "Loss"),
    "processes": ("进程数（每个占一张显卡或一个核心）", "Processes, a GPU or core each"),
    "vllm": ("用 vLLM 采样", "Rollouts by vLLM"),
    "vllm_memory": ("vLLM 占显存比例", "vLLM's share of the GPU"),
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
    ACTION: ("发现崩坏时", "When the model collapses"),
    "monitor": ("监测界限（JSON）", "Limits of the monitor (JSON)"),
}
_CHOICES: dict[str, dict[str, Words]] = {"reward": REWARDS, ACTION: ACTIONS}


def fields_of(program: str) -> tuple[str, ...]:
    """Every setting of a program that the form shows."""
    names = list(settings_type(program).model_fields)
    if "monitor" in names:
        names.insert(names.index("monitor"), ACTION)
    return tuple(names)


def box(say: Say, program: str, name: str, **options: Any) -> gr.components.Component:
    """The box of a setting."""
    label, elem_id = say(*LABELS.get(name, (name, name))), f"zf-train-{program}-{name.replace('.', '-')}"
    given: dict[str, Any] = {"label": label, "elem_id": elem_id, "interactive": True} | options
    if name == ACTION:
        return gr.Dropdown(choices=_named(say, name, tuple(ACTIONS)), **given)
    if name in NAMED:
        return gr.Dropdown(allow_custom_value=True, min_width=240, **given)
    shape = settings_type(program).model_fields[name].annotation
    if get_origin(shape) is Literal:
        return gr.Dropdown(choices=_named(say, name, get_args(shape)), **given)
    if shape is bool:
        return gr.Checkbox(**given)
    if shape in (int, float, int | None):
        return gr.Number(**given, min_width=150)
    if shape == tuple[str, ...]:
        return gr.Dropdown(choices=[], multiselect=True, allow_custom_value=True, **given)
    return gr.Textbox(max_length=20_000, lines=6 if name in WIDE else 1, **given)


def shown(program: str, values: Mapping[str, Any]) -> list[Any]:
    """What the boxes show for settings, in the order of `fields_of`; defaults where a value is missing."""
    known = settings_type(program).model_construct(**values).model_dump(mode="json", warnings=False)
    monitor = dict(known.get("monitor") or {})
    known |= {ACTION: monitor.pop("action", "stop"), "monitor": _json(monitor)}
    if "judge" in known:
        known["judge"] = _json(known["judge"])
    if "endpoint" in known:
        known["endpoint"] = known["endpoint"] or ""
    return [_blank(known.get(name)) for name in fields_of(program)]


def entered(program: str, given: tuple[Any, ...]) -> dict[str, Any]:
    """The settings that the boxes hold. Raises UserError for JSON that is none."""
    boxes = dict(zip(fields_of(program), given, strict=True))
    action = boxes.pop(ACTION, None)
    values = {name: _plain(program, name, value) for name, value in boxes.items()}
    if action is not None:
        values["monitor"] = {**values["monitor"], "action": action}
    return values


def _plain(program: str, name: str, value: Any) -> Any:
    if name in WIDE:
        return _object(name, value or "{}")
    field = settings_type(program).model_fields[name]
    if field.annotation == int | None:
        return value or None  # An empty box of numbers shows 0.
    if isinstance(value, str):
        text = value.strip()
        return text or (None if field.default is None else "")
    return value or [] if field.annotation == tuple[str, ...] else value


def _object(name: str, text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        zh, en = LABELS[name]
        raise UserError(f"{en}: this is no JSON object.", f"{zh}：这不是一个 JSON 对象。")
    return found


def _named(say: Say, name: str, values: tuple[str, ...]) -> list[tuple[str, str]]:
    words = _CHOICES.get(name, {})
    return [(say(*words[value]) if value in words else value, value) for value in values]


def _json(value: Any) -> str:
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    lines = (f"  {json.dumps(key)}: {json.dumps(each, ensure_ascii=False)}" for key, each in value.items())
    return "{\n" + ",\n".join(lines) + "\n}" if value else "{}"


def _blank(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
