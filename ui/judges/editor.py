"""Make or fork a judge: its principles, the exact prompt it would send, and a try on any text."""

from collections.abc import Sequence
from typing import Any

import gradio as gr
from markupsafe import Markup

from backend.core.enums import Scale
from backend.core.errors import UserError
from backend.judges.base import (
    ASKING_KINDS,
    COMPARING_KINDS,
    JudgeKind,
    JudgeSpec,
    Judgment,
    PairJudgment,
    PairOutcome,
    PairSample,
    Sample,
)
from backend.judges.criteria import MAX_RULES, numbered_rules, parse_principles, starting_principles
from backend.judges.ranking import LEAST_PER_CALL, MOST_PER_CALL, USUAL_PER_CALL
from backend.judges.registry import DEFAULT_EXAMPLES, MOST_EXAMPLES
from backend.judges.scoring.records import JudgeInfo, Opinion
from backend.services import Services
from ui.components.form import BoxForm, EnteredValues
from ui.components.judges import JUDGE_KIND_NAMES, endpoint_choices, judge_label
from ui.components.language import Translator
from ui.components.templates import render, render_part
from ui.components.widgets import caption_html, fill_tab, friendly_errors, html_block, note
from ui.judges.comparison import opinion_html

# Baselines are left out: they have no settings to edit.
EDITABLE_KINDS = (*sorted(ASKING_KINDS, key=list(JUDGE_KIND_NAMES).index), JudgeKind.REWARD_MODEL)
# The panel's judge is not among them: a panel without it is an ablation, made on the page of pairs.
OPTIONAL_AGENTS = ("positive", "negative", "reflect")
GUIDED_KINDS = (JudgeKind.PRINCIPLE, JudgeKind.RANKING)
EXAMPLE_SAMPLE = (
    "给奶奶的八十大寿祝福，她每天早上去公园打太极",
    "奶奶，八十大寿快乐！愿您天天打着太极看日出，笑声比鸟叫还亮。",
)
# Every other kind answers yes or no.
_KIND_SCALES = {JudgeKind.RUBRIC: Scale.RUBRIC, JudgeKind.REWARD_MODEL: Scale.SCORE}
_OUTCOME_NAMES = {
    PairOutcome.A: ("第一条更好", "The first is better"),
    PairOutcome.B: ("第二条更好", "The second is better"),
    PairOutcome.TIE: ("难分高下", "A tie"),
}
OTHER_GREETING = "祝奶奶福如东海，寿比南山，身体健康，万事如意！"


def build_tab(services: Services, translate: Translator, editor_tab: gr.Tab) -> None:
    """Settings left; sample, verdict and preview right."""
    with gr.Row():
        with gr.Column():
            fork_choice = gr.Dropdown(
                label=translate("从哪个裁判改起", "Start from"),
                choices=[(translate("从头开始", "From scratch"), 0)],
                value=0,
                elem_id="zf-judge-fork",
            )
            setting_form = _build_settings(translate)
        with gr.Column():
            sample_form = _build_samples(translate)
            message_block = html_block(elem_id="zf-judge-told")
            with gr.Row():
                save_button = gr.Button(
                    translate("保存裁判", "Save the judge"), variant="primary", elem_id="zf-judge-save"
                )
                try_button = gr.Button(translate("试一试", "Try it"), elem_id="zf-judge-try")
            saved_block = html_block(elem_id="zf-judge-saved")
            result_block = html_block(elem_id="zf-try-result")
            with gr.Accordion(translate("模型原话", "The model's own words"), open=False):
                raw_block = html_block(elem_id="zf-try-raw")
            with gr.Accordion(translate("实际发送的提示词", "The prompt exactly as it is sent"), open=True):
                preview_block = html_block(elem_id="zf-judge-preview")
    trial_form = BoxForm(**setting_form.boxes, **sample_form.boxes)
    _wire_choices(services, translate, editor_tab, fork_choice, trial_form, setting_form)
    _wire_preview(services, translate, trial_form, message_block, preview_block)
    _wire_saving(services, translate, setting_form, save_button, [saved_block, fork_choice])
    _wire_trial(services, translate, trial_form, try_button, [result_block, raw_block])


def _build_settings(translate: Translator) -> BoxForm:
    """The boxes that make a spec."""
    kind_choice = gr.Dropdown(
        label=translate("类型", "Kind"),
        choices=[(translate(*JUDGE_KIND_NAMES[entry]), entry.value) for entry in EDITABLE_KINDS],
        value=JudgeKind.PRINCIPLE.value,
        elem_id="zf-judge-kind",
    )
    name_box = gr.Textbox(label=translate("名称", "Name"), value="principle", max_length=60, elem_id="zf-judge-name")
    endpoint_choice = gr.Dropdown(
        label=translate("模型端点", "Endpoint"), choices=[(translate("默认", "Default"), "")], value=""
    )
    principles_box = gr.Textbox(
        label=translate(f"评判原则（每行一条，最多 {MAX_RULES} 条）", f"Principles (one a line, at most {MAX_RULES})"),
        value=numbered_rules(starting_principles()),
        lines=12,
        max_lines=30,
        elem_id="zf-judge-principles",
    )
    agent_names = (("褒方", "Positive"), ("贬方", "Negative"), ("复核", "Reflect"))
    agents_choice = gr.CheckboxGroup(
        label=translate("参与评议的角色", "Agents of the panel"),
        choices=[(translate(*entry), agent_key) for entry, agent_key in zip(agent_names, OPTIONAL_AGENTS, strict=True)],
        value=list(OPTIONAL_AGENTS),
        visible=False,
    )
    examples_slider = gr.Slider(
        0,
        MOST_EXAMPLES,
        value=DEFAULT_EXAMPLES,
        step=1,
        label=translate("参考范例数（取自语料中受欢迎的祝福）", "Examples (liked greetings of the corpus)"),
        visible=False,
        elem_id="zf-judge-examples",
    )
    embeddings_choice = gr.Dropdown(
        label=translate("按意思找范例的向量端点", "Endpoint that finds examples by meaning"),
        choices=[(translate("不用，只按词语找", "None, by words alone"), "")],
        value="",
        visible=False,
        elem_id="zf-judge-embeddings",
    )
    both_orders_box = gr.Checkbox(
        label=translate("正反两种次序各问一次，取平均", "Ask in both orders and take the mean"),
        visible=False,
        elem_id="zf-judge-both-orders",
    )
    per_call_slider = gr.Slider(
        LEAST_PER_CALL,
        MOST_PER_CALL,
        value=USUAL_PER_CALL,
        step=1,
        label=translate("一次最多排几条（更多的分几次，互有重叠）", "Greetings of one call (more: calls that overlap)"),
        visible=False,
        elem_id="zf-judge-per-call",
    )
    path_box = gr.Textbox(label=translate("模型文件夹", "Folder of the model"), visible=False, elem_id="zf-judge-path")
    with gr.Accordion(translate("采样设置", "Sampling"), open=False), gr.Row():
        temperature_box = gr.Number(label="temperature", value=0, minimum=0, maximum=2)
        max_tokens_box = gr.Number(label="max_tokens", value=1024, minimum=16, precision=0)
    return BoxForm(
        kind=kind_choice,
        name=name_box,
        endpoint=endpoint_choice,
        principles=principles_box,
        agents=agents_choice,
        examples=examples_slider,
        embeddings=embeddings_choice,
        both_orders=both_orders_box,
        per_call=per_call_slider,
        path=path_box,
        temperature=temperature_box,
        max_tokens=max_tokens_box,
    )


def _build_samples(translate: Translator) -> BoxForm:
    """The boxes of what a judge is tried on."""
    prompt_box = gr.Textbox(label=translate("请求", "Request"), value=EXAMPLE_SAMPLE[0], elem_id="zf-try-prompt")
    greeting_box = gr.Textbox(
        label=translate("祝福语", "Greeting"), value=EXAMPLE_SAMPLE[1], lines=3, elem_id="zf-try-greeting"
    )
    second_box = gr.Textbox(
        label=translate("另一条祝福语", "The other one"), value=OTHER_GREETING, lines=3, visible=False
    )
    return BoxForm(prompt=prompt_box, greeting=greeting_box, second_greeting=second_box)


def _wire_choices(
    services: Services,
    translate: Translator,
    editor_tab: gr.Tab,
    fork_choice: gr.Dropdown,
    trial_form: BoxForm,
    setting_form: BoxForm,
) -> None:
    @friendly_errors(translate)
    def load_choices() -> dict[Any, Any]:
        setting_updates = {
            "endpoint": gr.update(choices=endpoint_choices(services, translate)),
            "embeddings": _embedder_update(services, translate),
        }
        return {fork_choice: _fork_update(services, translate), **setting_form.fill(setting_updates)}

    @friendly_errors(translate)
    def load_fork(judge_id: int) -> Any:
        if not judge_id:
            return gr.skip()
        return setting_form.fill(_setting_values(services.scoring.catalog.judge(int(judge_id))))

    @friendly_errors(translate)
    @trial_form.named
    def fit_visibility(entered: EnteredValues) -> dict[Any, Any]:
        judge_kind = JudgeKind(entered["kind"])
        visible_boxes = {
            "principles": judge_kind in GUIDED_KINDS,
            **dict.fromkeys(("both_orders", "per_call"), judge_kind is JudgeKind.RANKING),
            **dict.fromkeys(("agents", "examples", "embeddings"), judge_kind is JudgeKind.PANEL),
            "path": judge_kind is JudgeKind.REWARD_MODEL,
            "second_greeting": judge_kind in COMPARING_KINDS,
            "endpoint": judge_kind in ASKING_KINDS,
        }
        # A name that nobody has changed yet follows the kind.
        fitted_name = entered["kind"] if entered["name"] in set(JudgeKind) else entered["name"]
        box_updates = {box_name: gr.update(visible=is_visible) for box_name, is_visible in visible_boxes.items()}
        return trial_form.fill({"name": fitted_name, **box_updates})

    offered_boxes = [fork_choice, *setting_form.pick_outputs(("endpoint", "embeddings"))]
    fill_tab(editor_tab, load_choices, offered_boxes)
    fork_choice.change(load_fork, fork_choice, setting_form.outputs, queue=False, show_progress="hidden")
    fitted_boxes = trial_form.pick_outputs(
        (
            *("name", "principles", "agents", "examples", "embeddings", "both_orders", "per_call", "path"),
            *("second_greeting", "endpoint"),
        )
    )
    setting_form["kind"].change(
        fit_visibility, trial_form.pick_inputs(("kind", "name")), fitted_boxes, queue=False, show_progress="hidden"
    )


def _wire_preview(
    services: Services,
    translate: Translator,
    trial_form: BoxForm,
    message_block: gr.HTML,
    preview_block: gr.HTML,
) -> None:
    @friendly_errors(translate)
    @trial_form.named
    def show_preview(entered: EnteredValues) -> list[str]:
        try:
            judge_spec = _judge_spec(entered)
            sent_prompts = services.scoring.preview(judge_spec, _entered_sample(judge_spec.kind, entered))
        except UserError as error:
            return [note(translate.localize(error), "bad"), ""]
        return [
            _principle_count(translate, judge_spec) + _missing_endpoint_note(services, translate, sent_prompts),
            render("judges/templates/sent_prompts.html", translate=translate, sent_prompts=sent_prompts),
        ]

    # Past the queue: the preview asks no model and follows each key that is typed.
    event_options: dict[str, Any] = {"queue": False, "show_progress": "hidden"}
    gr.on(None, show_preview, trial_form.inputs, [message_block, preview_block], **event_options)
    gr.on(
        [form_box.change for form_box in trial_form.boxes.values()],
        show_preview,
        trial_form.inputs,
        [message_block, preview_block],
        # While one preview is computed, further keys would be dropped by default, and the last text never
        # shown.
        trigger_mode="always_last",
        **event_options,
    )


def _wire_saving(
    services: Services,
    translate: Translator,
    setting_form: BoxForm,
    save_button: gr.Button,
    output_blocks: list[Any],
) -> None:
    @friendly_errors(translate)
    @setting_form.named
    def save_judge(entered: EnteredValues) -> list[Any]:
        try:
            judge_info = services.scoring.catalog.save(_judge_spec(entered))
        except UserError as error:
            return [note(translate.localize(error), "bad"), gr.skip()]
        saved_message = translate(
            f"已保存“{judge_info.name}”，版本 {judge_info.version}。",
            f"Saved “{judge_info.name}”, version {judge_info.version}.",
        )
        return [note(saved_message, "ok"), _fork_update(services, translate)]

    save_button.click(save_judge, setting_form.inputs, output_blocks, queue=False)
    # A place of its own, emptied in the browser: a late preview must not wipe out what was just saved.
    input_events = [setting_box.input for setting_box in setting_form.boxes.values()]
    gr.on(input_events, None, None, output_blocks[0], js="() => ''")


def _wire_trial(
    services: Services,
    translate: Translator,
    trial_form: BoxForm,
    try_button: gr.Button,
    output_blocks: list[Any],
) -> None:
    @friendly_errors(translate)
    @trial_form.named
    def try_judge(entered: EnteredValues) -> list[str]:
        try:
            judge_spec = _judge_spec(entered)
            judgment = services.scoring.judge_sample(judge_spec, _entered_sample(judge_spec.kind, entered))
        except UserError as error:
            return [note(translate.localize(error), "bad"), ""]
        raw_reply = str((judgment.details or {}).get("raw", "–"))
        return [_verdict_html(translate, judge_spec.kind, judgment), render_part("preformatted", raw_reply)]

    # Through the queue: a model answers after seconds, and a fault of ours should come as a toast.
    try_button.click(try_judge, trial_form.inputs, output_blocks)


def _fork_update(services: Services, translate: Translator) -> dict[str, Any]:
    fork_choices = [
        (judge_label(translate, judge_info), judge_info.id)
        for judge_info in services.scoring.catalog.judges()
        # Without a stored spec there is nothing to start from.
        if judge_info.spec and judge_info.spec.kind in EDITABLE_KINDS
    ]
    return gr.update(choices=[(translate("从头开始", "From scratch"), 0), *fork_choices])


def _embedder_update(services: Services, translate: Translator) -> dict[str, Any]:
    endpoint_names = [endpoint_info.name for endpoint_info in services.endpoints.endpoints()]
    none_label = translate("不用，只按词语找", "None, by words alone")
    return gr.update(choices=[(none_label, ""), *((endpoint_name, endpoint_name) for endpoint_name in endpoint_names)])


def _judge_spec(entered: EnteredValues) -> JudgeSpec:
    """The judge that the boxes describe. Raises UserError naming what is missing or wrong."""
    judge_kind, judge_config = JudgeKind(entered["kind"]), dict[str, Any]()
    if judge_kind in ASKING_KINDS:
        judge_config = {"temperature": entered["temperature"] or 0, "max_tokens": int(entered["max_tokens"] or 0)}
    if judge_kind in GUIDED_KINDS:
        judge_config["principles"] = list(parse_principles(entered["principles"] or ""))
    if judge_kind is JudgeKind.PANEL:
        judge_config |= {agent_key: agent_key in (entered["agents"] or ()) for agent_key in OPTIONAL_AGENTS}
        judge_config["examples"] = int(entered["examples"] or 0)
        judge_config |= {"embeddings": entered["embeddings"]} if entered["embeddings"] else {}
    if judge_kind is JudgeKind.RANKING:
        judge_config |= {"both_orders": bool(entered["both_orders"]), "per_call": int(entered["per_call"] or 0)}
    if judge_kind is JudgeKind.REWARD_MODEL:
        judge_config["path"] = (entered["path"] or "").strip()
    # The box keeps its value while it is hidden, and a kind that asks nobody must not be stored with an
    # endpoint.
    endpoint_name = (entered["endpoint"] or None) if judge_kind in ASKING_KINDS else None
    return JudgeSpec(judge_kind, (entered["name"] or "").strip(), endpoint_name, judge_config)


def _setting_values(judge_info: JudgeInfo) -> dict[str, Any]:
    """What the boxes hold for a stored judge."""
    assert judge_info.spec is not None
    judge_config = judge_info.spec.config
    principles = judge_config.get("principles")
    return {
        "kind": judge_info.spec.kind.value,
        "name": judge_info.name,
        "endpoint": judge_info.spec.endpoint or "",
        "principles": numbered_rules(tuple(principles) if principles else starting_principles()),
        # Missing means present, as backend/judges/registry.py reads it when it makes the panel.
        "agents": [agent_key for agent_key in OPTIONAL_AGENTS if judge_config.get(agent_key, True)],
        # 0 and not the default of a new judge: a panel stored before there were examples sees none.
        "examples": judge_config.get("examples", 0),
        "embeddings": judge_config.get("embeddings") or "",
        "both_orders": bool(judge_config.get("both_orders", False)),
        "per_call": judge_config.get("per_call", USUAL_PER_CALL),
        "path": judge_config.get("path", ""),
        "temperature": judge_config.get("temperature", 0),
        "max_tokens": judge_config.get("max_tokens", 1024),
    }


def _entered_sample(judge_kind: JudgeKind, entered: EnteredValues) -> Sample | PairSample:
    prompt_text, greeting_text = entered["prompt"] or "", entered["greeting"] or ""
    if judge_kind in COMPARING_KINDS:
        return PairSample(prompt_text, greeting_text, entered["second_greeting"] or "")
    return Sample(prompt_text, greeting_text)


def _principle_count(translate: Translator, judge_spec: JudgeSpec) -> Markup:
    principles = judge_spec.config.get("principles")
    if not principles:
        return Markup()
    count_text = f"{len(principles)} / {MAX_RULES}"
    return caption_html(translate(f"原则 {count_text} 条", f"{count_text} principles"))


def _missing_endpoint_note(services: Services, translate: Translator, sent_prompts: Sequence[str]) -> Markup:
    if not sent_prompts or services.endpoints.endpoints():
        return Markup()
    return note(
        translate(
            "还没有模型端点：可以先写原则、看提示词；要试用，请先到“模型端点”里添加一个。",
            "No model endpoint yet: you can write principles and read the prompt; to try it, add one under "
            "“Endpoints”.",
        )
    )


def _verdict_html(translate: Translator, judge_kind: JudgeKind, judgment: Judgment | PairJudgment) -> Markup:
    if isinstance(judgment, Judgment):
        verdict_scale = _KIND_SCALES.get(judge_kind, Scale.BINARY)
        return opinion_html(translate, Opinion(judgment.value, judgment.reason, judgment.details or {}), verdict_scale)
    outcome_name = translate(*_OUTCOME_NAMES[judgment.outcome]) if judgment.outcome else translate("未评", "unscored")
    return render(
        "judges/templates/pair_verdict.html",
        outcome_name=outcome_name,
        is_decided=bool(judgment.outcome),
        reasons=judgment.reasons,
    )
