"""The form that starts a run: labels, numbers, who asks which endpoint, caps; with an estimate first."""

from typing import Any

import gradio as gr
from markupsafe import Markup

from backend.core.enums import Agent, FlawConfirmer, Role, SearchMethod
from backend.core.errors import UserError
from backend.core.stored_records import read_record
from backend.generation.generators import Readiness, is_policy_name
from backend.judges.scoring.records import format_duration
from backend.principles.algorithm.settings import GameSettings
from backend.principles.records import RunRequest
from backend.principles.rulings import explain_uses
from backend.services import Services
from ui.components.form import BoxForm, EnteredValues
from ui.components.judges import endpoint_choices, generator_label
from ui.components.language import Translator
from ui.components.run_watcher import RunWatcher
from ui.components.widgets import caption_html, default_choice, fill_tab, friendly_errors, html_block, note
from ui.principles.names import AGENT_NAMES, OWN_MODEL_NOTE, SEARCH_NAMES, SPLIT_NAMES, label_choices, version_label

# Named as in the settings, so that a bad one is reported by the name of its box.
NUMBER_FIELDS = ("rounds", "patience", "labelled", "attacks", "duels", "gate", "locked", "seed")


class GameRunForm:
    """The boxes by name, the estimate, and the start."""

    def __init__(self, services: Services, translate: Translator, form_tab: gr.Tab) -> None:
        self._services, self._translate = services, translate
        self.box_form = _build_boxes(translate)
        with gr.Row():
            estimate_button = gr.Button(translate("先估算", "Estimate first"), elem_id="zf-game-estimate")
            self.start_button = gr.Button(translate("开始", "Start"), variant="primary", elem_id="zf-game-start")
        self.message_block = html_block(elem_id="zf-game-told")
        offered_boxes = self.box_form.pick_outputs(("dataset", "endpoint", *Agent, *Role))
        load_choices = friendly_errors(translate)(self._load_choices)
        fill_tab(form_tab, load_choices, offered_boxes, self.box_form["dataset"])
        show_estimate = friendly_errors(translate)(self.box_form.named(self._show_estimate))
        estimate_button.click(show_estimate, self.box_form.inputs, self.message_block)

    def wire_start(self, run_watcher: RunWatcher) -> None:
        """What the start button does: the new run is queued, and watched."""

        @friendly_errors(self._translate)
        @self.box_form.named
        def begin_run(entered: EnteredValues) -> list[Any]:
            try:
                run_info = self._services.evolution.submit(read_request(entered))
            except UserError as error:
                error_note = note(self._translate.localize(error), "bad")
                return [error_note, *([gr.skip()] * len(run_watcher.outputs))]
            return ["", *run_watcher.poll_updates(run_info.id, None, choose=True)]

        self.start_button.click(begin_run, self.box_form.inputs, [self.message_block, *run_watcher.outputs])

    def _show_estimate(self, entered: EnteredValues) -> str:
        try:
            return _estimate_html(self._services, self._translate, read_request(entered))
        except UserError as error:
            return note(self._translate.localize(error), "bad")

    def _load_choices(self, chosen_dataset: str | None) -> dict[Any, Any]:
        services, translate = self._services, self._translate
        endpoint_options, label_sets = endpoint_choices(services, translate), label_choices(services, translate)
        same_option = (translate("同上", "the same"), "")
        # Without the first, “default”: for an agent empty means the endpoint above, which may be another.
        agent_options = [same_option, *endpoint_options[1:]]
        dataset_value = default_choice(chosen_dataset, [dataset_name for _, dataset_name in label_sets])
        return self.box_form.fill(
            {
                "dataset": gr.update(choices=label_sets, **dataset_value),
                "endpoint": gr.update(choices=endpoint_options),
                **{game_agent: gr.update(choices=agent_options) for game_agent in Agent},
                # Only the Generator may be a model trained here: such a model writes and cannot judge.
                Agent.GENERATOR: gr.update(choices=[*agent_options, *_policy_options(services, translate)]),
                **{role: _starting_versions(services, translate, role) for role in Role},
            }
        )


def _policy_options(services: Services, translate: Translator) -> list[tuple[str, str]]:
    """The models trained here, which may write but not judge."""
    policies = [
        (generator_label(translate, generator_info), generator_info.name)
        for generator_info in services.generators.generators()
        if generator_info.artifact is not None and generator_info.readiness is not Readiness.GONE
    ]
    return [(translate(f"训练好的 · {label}", f"trained here · {label}"), name) for label, name in policies]


def read_request(box_values: EnteredValues) -> RunRequest:
    """The run that the boxes describe. Raises UserError naming what is missing or wrong."""
    if not box_values["dataset"]:
        raise UserError(
            "Choose labels; import a labelled data set or annotate first.",
            "请选择带标签的数据；还没有的话，先导入或标注一些。",
        )
    number_values = {
        # None stays None, so that the settings refuse it by name; as 0 it might pass.
        field_name: None if box_values[field_name] is None else int(box_values[field_name])
        for field_name in NUMBER_FIELDS
    }
    game_settings = read_record(
        GameSettings,
        {
            **number_values,
            "alpha": box_values["alpha"],
            "search": box_values["search"],
            "confirm": box_values["confirm"],
            "evolve_generator": bool(box_values["evolve_generator"]),
        },
    )
    agent_endpoints = {game_agent: box_values[game_agent] or box_values["endpoint"] or None for game_agent in Agent}
    return RunRequest(
        str(box_values["dataset"]),
        game_settings,
        agent_endpoints,
        max_calls=int(box_values["max_calls"]) if box_values["max_calls"] else None,
        max_cost=float(box_values["max_cost"]) if box_values["max_cost"] else None,
        detector=int(box_values[Role.DETECTOR]) if box_values[Role.DETECTOR] else None,
        generator=int(box_values[Role.GENERATOR]) if box_values[Role.GENERATOR] else None,
    )


def _build_boxes(translate: Translator) -> BoxForm:
    default_settings, box_form = GameSettings(), BoxForm()
    with gr.Row():
        box_form.add_all(_build_main_boxes(translate, default_settings))
    with gr.Accordion(translate("起点与各角色的端点", "Beginnings, and an endpoint for each agent"), open=False):
        with gr.Row():
            for principle_role in Role:
                first_version = (translate("自带的第一版", "our own first"), 0)
                role_label = translate(f"{principle_role} 从哪一版开始", f"Begin with this {principle_role}")
                box_form.add(principle_role, gr.Dropdown(label=role_label, choices=[first_version], value=0))
        with gr.Row(elem_classes="zf-many"):
            for game_agent in Agent:
                same_option = (translate("同上", "the same"), "")
                agent_label = translate(*AGENT_NAMES[game_agent])
                box_form.add(game_agent, gr.Dropdown(label=agent_label, choices=[same_option], value=""))
    with gr.Accordion(translate("更多设置与上限", "More settings, and caps"), open=False):
        with gr.Row(elem_classes="zf-many"):
            box_form.add_all(_build_number_boxes(translate, default_settings))
        with gr.Row():
            box_form.add_all(_build_switches(translate))
    return box_form


def _build_main_boxes(translate: Translator, default_settings: GameSettings) -> dict[str, Any]:
    search_options = [(translate(*SEARCH_NAMES[search_kind]), search_kind.value) for search_kind in SearchMethod]
    return {
        "dataset": gr.Dropdown(label=translate("人的标签", "Human labels"), choices=[], elem_id="zf-game-dataset"),
        "endpoint": gr.Dropdown(
            label=translate("模型端点", "Endpoint"), choices=[("", "")], value="", elem_id="zf-game-endpoint"
        ),
        "search": gr.Dropdown(
            label=translate("用什么搜索", "Search by"),
            choices=search_options,
            value=SearchMethod.GAME.value,
            elem_id="zf-game-search",
        ),
        "rounds": _number_box(translate("最多几轮", "At most so many rounds"), default_settings.rounds, "rounds"),
    }


def _build_number_boxes(translate: Translator, default_settings: GameSettings) -> dict[str, Any]:
    number_labels = {
        "patience": translate("几轮无采纳就停", "Rounds without acceptance"),
        "labelled": translate("每轮看几条标签", "Labels a round"),
        "attacks": translate("每轮藏几处缺陷", "Planted flaws a round"),
        "duels": translate("S_G 比试几条", "Requests of a duel"),
        "gate": translate("把关集最多", "Gate set, at most"),
        "locked": translate("封存集最多", "Locked set, at most"),
        "seed": translate("随机种子", "Seed"),
    }
    number_boxes = {
        field_name: _number_box(field_label, getattr(default_settings, field_name), field_name)
        for field_name, field_label in number_labels.items()
    }
    return number_boxes | {
        "alpha": gr.Number(
            label=translate("误采纳的概率上限", "Chance of a false acceptance"),
            value=default_settings.alpha,
            step=0.01,
        ),
        "max_calls": _number_box(translate("调用上限（0 为不限）", "Cap on calls (0: none)"), 0, "calls"),
        "max_cost": gr.Number(label=translate("花费上限（0 为不限）", "Cap on cost (0: none)"), value=0),
    }


def _build_switches(translate: Translator) -> dict[str, Any]:
    return {
        "confirm": gr.Radio(
            label=translate("谁来核对藏起来的缺陷", "Who confirms planted flaws"),
            choices=[
                (translate("核对员（模型）", "The confirmer (a model)"), FlawConfirmer.JUDGE.value),
                (translate("人", "A person"), FlawConfirmer.PERSON.value),
            ],
            value=FlawConfirmer.JUDGE.value,
            elem_id="zf-game-confirm",
        ),
        "evolve_generator": gr.Checkbox(label=translate("S_G 也进化", "Let S_G evolve too"), value=True),
    }


def _number_box(box_label: str, initial_value: int, field_name: str) -> gr.Number:
    return gr.Number(label=box_label, value=initial_value, precision=0, elem_id=f"zf-set-{field_name}")


def _starting_versions(services: Services, translate: Translator, principle_role: Role) -> dict[str, Any]:
    version_choices = [
        (version_label(translate, version_info), version_info.id)
        for version_info in reversed(services.evolution.archive.versions(agent_role=principle_role))
        # The service begins no game from a version that has no rules.
        if version_info.rules.rules
    ]
    return gr.update(choices=[(translate("自带的第一版", "our own first"), 0), *version_choices])


def _estimate_html(services: Services, translate: Translator, run_request: RunRequest) -> Markup:
    estimate = services.evolution.estimate(run_request)
    part_counts = "，".join(
        f"{translate(*SPLIT_NAMES[split])} {estimate.labels[split]['good']} + {estimate.labels[split]['bad']}"
        for split in SPLIT_NAMES
    )
    excluded = {reason_name: estimate.labels[reason_name] for reason_name in ("contradictory", "repeated", "shared")}
    excluded_text = translate(
        f"（好 + 坏；去掉矛盾 {excluded['contradictory']}、重复 {excluded['repeated']}、"
        f"跨集同文 {excluded['shared']}）",
        f" (good + bad; left out: {excluded['contradictory']} contradictory, {excluded['repeated']} repeated, "
        f"{excluded['shared']} standing in two parts)",
    )
    message = translate(
        f"最多约 {estimate.calls:,} 次调用、{estimate.tokens:,} 个 token、花费 {estimate.cost:.4f}、"
        f"用时 {format_duration(estimate.seconds)}；多数运行用不到这么多。",
        f"At most about {estimate.calls:,} calls, {estimate.tokens:,} tokens, cost {estimate.cost:.4f}, "
        f"{format_duration(estimate.seconds)}; most runs take less.",
    )
    is_own_model = is_policy_name(run_request.endpoints.get(Agent.GENERATOR))
    if is_own_model:
        excluded_text += " " + translate(*OWN_MODEL_NOTE)
    # At the first use there is nothing to warn of: labels that were looked at before make chance findings
    # likelier.
    uses_text = (
        "" if estimate.uses.number == 1 else translate.localize(explain_uses(estimate.uses, run_request.settings.alpha))
    )
    return note(message, "ok") + caption_html(f"{part_counts}{excluded_text} {uses_text}")
