"""The form that starts a run: labels, numbers, who asks which endpoint, caps; with an estimate first."""

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from backend.errors import UserError
from backend.evolution.records import RunInfo, RunRequest
from backend.evolution.told import told_uses
from backend.principles.settings import GameSettings
from backend.principles.vocabulary import Agent, Confirm, Role, Search
from backend.scoring.records import clock
from backend.services import Services
from backend.writing.generators import Readiness, is_policy
from ui.judges_words import endpoint_choices, generator_label
from ui.principles_words import AGENTS, PARTS, SEARCHES, UNTOLD, label_choices, version_label
from ui.say import Say
from ui.widgets import esc, fill_tab, html_block, note, polite, unless_chosen

QUIET: dict[str, Any] = {"queue": False, "show_progress": "hidden"}
NUMBERS = ("rounds", "patience", "labelled", "attacks", "duels", "gate", "locked", "seed")
CAPS = ("max_calls", "max_cost")


def build(services: Services, say: Say, tab: gr.Tab) -> tuple[gr.HTML, Callable[..., None]]:
    """The boxes and the estimate. Returns what is told, and how to say what a started run does."""
    boxes = _boxes(say)
    with gr.Row():
        ask = gr.Button(say("先估算", "Estimate first"), elem_id="zf-game-estimate")
        start = gr.Button(say("开始", "Start"), variant="primary", elem_id="zf-game-start")
    told = html_block(elem_id="zf-game-told")
    offered = [boxes[name] for name in ("dataset", "endpoint", *Agent, *Role)]

    @polite(say)
    def load(chosen: str | None) -> list[Any]:
        endpoints = endpoint_choices(services, say)
        same = [(say("同上", "the same"), ""), *endpoints[1:]]
        policies = [
            (say(f"训练好的 · {label}", f"trained here · {label}"), info.name)
            for info in services.generators.generators()
            if info.artifact is not None and info.readiness is not Readiness.GONE
            for label in [generator_label(say, info)]
        ]
        sets = label_choices(services, say)
        return [
            gr.update(choices=sets, **unless_chosen(chosen, [name for _, name in sets])),
            gr.update(choices=endpoints),
            *(gr.update(choices=[*same, *policies] if one is Agent.GENERATOR else same) for one in Agent),
            *(_beginnings(services, say, role) for role in Role),
        ]

    @polite(say)
    def rough(*given: Any) -> str:
        try:
            return _estimate(services, say, request(dict(zip(boxes, given, strict=True))))
        except UserError as error:
            return note(say.of(error), "bad")

    fill_tab(tab, load, offered, boxes["dataset"])
    ask.click(rough, list(boxes.values()), told)

    def starting(show: Callable[[RunInfo], list[Any]], outputs: Sequence[Any]) -> None:
        @polite(say)
        def begin(*given: Any) -> list[Any]:
            try:
                info = services.evolution.submit(request(dict(zip(boxes, given, strict=True))))
            except UserError as error:
                return [note(say.of(error), "bad"), *([gr.skip()] * len(outputs))]
            return ["", *show(info)]

        start.click(begin, list(boxes.values()), [told, *outputs])

    return told, starting


def request(given: dict[str, Any]) -> RunRequest:
    """What the boxes say. Raises UserError."""
    if not given["dataset"]:
        raise UserError(
            "Choose labels; import a labelled data set or annotate first.",
            "请选择带标签的数据；还没有的话，先导入或标注一些。",
        )
    numbers = {name: None if given[name] is None else int(given[name]) for name in NUMBERS}
    settings = GameSettings.read(
        {
            **numbers,
            "alpha": given["alpha"],
            "search": given["search"],
            "confirm": given["confirm"],
            "evolve_generator": bool(given["evolve_generator"]),
        }
    )
    endpoints = {agent: given[agent] or given["endpoint"] or None for agent in Agent}
    return RunRequest(
        str(given["dataset"]),
        settings,
        endpoints,
        max_calls=int(given["max_calls"]) if given["max_calls"] else None,
        max_cost=float(given["max_cost"]) if given["max_cost"] else None,
        detector=int(given[Role.DETECTOR]) if given[Role.DETECTOR] else None,
        generator=int(given[Role.GENERATOR]) if given[Role.GENERATOR] else None,
    )


def _boxes(say: Say) -> dict[str, Any]:
    """The boxes by name, in the order in which handlers get them."""
    default = GameSettings()
    with gr.Row():
        dataset = gr.Dropdown(label=say("人的标签", "Human labels"), choices=[], elem_id="zf-game-dataset")
        endpoint = gr.Dropdown(
            label=say("模型端点", "Endpoint"), choices=[("", "")], value="", elem_id="zf-game-endpoint"
        )
        search = gr.Dropdown(
            label=say("用什么搜索", "Search by"),
            choices=[(say(*SEARCHES[one]), one.value) for one in Search],
            value=Search.GAME.value,
            elem_id="zf-game-search",
        )
        rounds = _number(say("最多几轮", "At most so many rounds"), default.rounds, "rounds")
    boxes = {"dataset": dataset, "endpoint": endpoint, "search": search, "rounds": rounds}
    with gr.Accordion(say("起点与各角色的端点", "Beginnings, and an endpoint for each agent"), open=False):
        with gr.Row():
            for role in Role:
                boxes[role] = gr.Dropdown(
                    label=say(f"{role} 从哪一版开始", f"Begin with this {role}"),
                    choices=[(say("自带的第一版", "our own first"), 0)],
                    value=0,
                )
        with gr.Row(elem_classes="zf-many"):
            for agent in Agent:
                boxes[agent] = gr.Dropdown(
                    label=say(*AGENTS[agent]), choices=[(say("同上", "the same"), "")], value=""
                )
    with gr.Accordion(say("更多设置与上限", "More settings, and caps"), open=False):
        boxes |= _more(say, default)
    return boxes


def _more(say: Say, default: GameSettings) -> dict[str, Any]:
    words = {
        "patience": say("几轮无采纳就停", "Rounds without acceptance"),
        "labelled": say("每轮看几条标签", "Labels a round"),
        "attacks": say("每轮藏几处缺陷", "Planted flaws a round"),
        "duels": say("S_G 比试几条", "Requests of a duel"),
        "gate": say("把关集最多", "Gate set, at most"),
        "locked": say("封存集最多", "Locked set, at most"),
        "seed": say("随机种子", "Seed"),
    }
    boxes: dict[str, Any] = {}
    with gr.Row(elem_classes="zf-many"):
        for name, label in words.items():
            boxes[name] = _number(label, getattr(default, name), name)
        boxes["alpha"] = gr.Number(
            label=say("误采纳的概率上限", "Chance of a false acceptance"), value=default.alpha, step=0.01
        )
        boxes["max_calls"] = _number(say("调用上限（0 为不限）", "Cap on calls (0: none)"), 0, "calls")
        boxes["max_cost"] = gr.Number(label=say("花费上限（0 为不限）", "Cap on cost (0: none)"), value=0)
    with gr.Row():
        boxes["confirm"] = gr.Radio(
            label=say("谁来核对藏起来的缺陷", "Who confirms planted flaws"),
            choices=[
                (say("核对员（模型）", "The confirmer (a model)"), Confirm.JUDGE.value),
                (say("人", "A person"), Confirm.PERSON.value),
            ],
            value=Confirm.JUDGE.value,
            elem_id="zf-game-confirm",
        )
        boxes["evolve_generator"] = gr.Checkbox(label=say("S_G 也进化", "Let S_G evolve too"), value=True)
    return boxes


def _number(label: str, value: int, name: str) -> gr.Number:
    return gr.Number(label=label, value=value, precision=0, elem_id=f"zf-set-{name}")


def _beginnings(services: Services, say: Say, role: Role) -> dict[str, Any]:
    known = [
        (version_label(say, one), one.id)
        for one in reversed(services.evolution.archive.versions(role=role))
        if one.rules.rules
    ]
    return gr.update(choices=[(say("自带的第一版", "our own first"), 0), *known])


def _estimate(services: Services, say: Say, asked: RunRequest) -> str:
    rough = services.evolution.estimate(asked)
    parts = "，".join(
        f"{say(*PARTS[part])} {rough.labels[part]['good']} + {rough.labels[part]['bad']}" for part in PARTS
    )
    left = {name: rough.labels[name] for name in ("contradictory", "repeated", "shared")}
    dropped = say(
        f"（好 + 坏；去掉矛盾 {left['contradictory']}、重复 {left['repeated']}、跨集同文 {left['shared']}）",
        f" (good + bad; left out: {left['contradictory']} contradictory, {left['repeated']} repeated, "
        f"{left['shared']} standing in two parts)",
    )
    told = say(
        f"最多约 {rough.calls:,} 次调用、{rough.tokens:,} 个 token、花费 {rough.cost:.4f}、"
        f"用时 {clock(rough.seconds)}；多数运行用不到这么多。",
        f"At most about {rough.calls:,} calls, {rough.tokens:,} tokens, cost {rough.cost:.4f}, "
        f"{clock(rough.seconds)}; most runs take less.",
    )
    own = is_policy(asked.endpoints.get(Agent.GENERATOR))
    if own:
        dropped += " " + say(*UNTOLD)
    seen = "" if rough.uses.number == 1 else say.of(told_uses(rough.uses, asked.settings.alpha))
    return f'{note(told, "ok")}<p class="zf-note">{esc(parts)}{esc(dropped)} {esc(seen)}</p>'
