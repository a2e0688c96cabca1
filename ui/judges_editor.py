"""Make or fork a judge: its principles, the exact prompt it would send, and a try on any text."""

from collections.abc import Sequence
from typing import Any

import gradio as gr

from backend.errors import UserError
from backend.judges.base import Draft, PairDraft, PairOutcome, PairSample, Sample
from backend.judges.principles import MAX_RULES, numbered, parse_principles, starting_principles
from backend.judges.registry import EXAMPLES, MOST_EXAMPLES
from backend.judges.spec import ASKING, JudgeKind, JudgeSpec
from backend.scoring.records import JudgeInfo, Opinion
from backend.services import Services
from backend.vocabulary import Scale
from ui.judge_names import KINDS
from ui.judges_words import endpoint_choices, label, opinion
from ui.say import Say
from ui.widgets import esc, fill_tab, html_block, note, polite

MADE = (*sorted(ASKING, key=list(KINDS).index), JudgeKind.REWARD_MODEL)
SETTINGS = 10
"""How many boxes make a spec."""
AGENTS = ("positive", "negative", "reflect")
EXAMPLE = (
    "给奶奶的八十大寿祝福，她每天早上去公园打太极",
    "奶奶，八十大寿快乐！愿您天天打着太极看日出，笑声比鸟叫还亮。",
)
_SCALES = {JudgeKind.RUBRIC: Scale.RUBRIC, JudgeKind.REWARD_MODEL: Scale.SCORE}
_OUTCOMES = {
    PairOutcome.A: ("第一条更好", "The first is better"),
    PairOutcome.B: ("第二条更好", "The second is better"),
    PairOutcome.TIE: ("难分高下", "A tie"),
}
OTHER = "祝奶奶福如东海，寿比南山，身体健康，万事如意！"


def build(services: Services, say: Say, tab: gr.Tab) -> None:
    """Settings left; sample, verdict and preview right."""
    with gr.Row():
        with gr.Column():
            fork = gr.Dropdown(
                label=say("从哪个裁判改起", "Start from"),
                choices=[(say("从头开始", "From scratch"), 0)],
                value=0,
                elem_id="zf-judge-fork",
            )
            setup = _settings(say)
        with gr.Column():
            sample = _samples(say)
            told = html_block(elem_id="zf-judge-told")
            with gr.Row():
                save = gr.Button(
                    say("保存裁判", "Save the judge"), variant="primary", elem_id="zf-judge-save"
                )
                go = gr.Button(say("试一试", "Try it"), elem_id="zf-judge-try")
            saved = html_block(elem_id="zf-judge-saved")
            result = html_block(elem_id="zf-try-result")
            with gr.Accordion(say("模型原话", "The model's own words"), open=False):
                raw = html_block(elem_id="zf-try-raw")
            with gr.Accordion(say("实际发送的提示词", "The prompt exactly as it is sent"), open=True):
                preview = html_block(elem_id="zf-judge-preview")
    _choosing(services, say, tab, fork, setup, sample)
    _previewing(services, say, [*setup, *sample], told, preview)
    _keeping(services, say, setup, save, [saved, fork])
    _trying(services, say, [*setup, *sample], go, [result, raw])


def _settings(say: Say) -> list[Any]:
    """The boxes of a spec, in the order of `_spec`."""
    kind = gr.Dropdown(
        label=say("类型", "Kind"),
        choices=[(say(*KINDS[one]), one.value) for one in MADE],
        value=JudgeKind.PRINCIPLE.value,
        elem_id="zf-judge-kind",
    )
    name = gr.Textbox(label=say("名称", "Name"), value="principle", max_length=60, elem_id="zf-judge-name")
    endpoint = gr.Dropdown(
        label=say("模型端点", "Endpoint"), choices=[(say("默认", "Default"), "")], value=""
    )
    principles = gr.Textbox(
        label=say(
            f"评判原则（每行一条，最多 {MAX_RULES} 条）", f"Principles (one a line, at most {MAX_RULES})"
        ),
        value=numbered(starting_principles()),
        lines=12,
        max_lines=30,
        elem_id="zf-judge-principles",
    )
    names = (("褒方", "Positive"), ("贬方", "Negative"), ("复核", "Reflect"))
    agents = gr.CheckboxGroup(
        label=say("参与评议的角色", "Agents of the panel"),
        choices=[(say(*one), agent) for one, agent in zip(names, AGENTS, strict=True)],
        value=list(AGENTS),
        visible=False,
    )
    examples = gr.Slider(
        0,
        MOST_EXAMPLES,
        value=EXAMPLES,
        step=1,
        label=say("参考范例数（取自语料中受欢迎的祝福）", "Examples (liked greetings of the corpus)"),
        visible=False,
        elem_id="zf-judge-examples",
    )
    embeddings = gr.Dropdown(
        label=say("按意思找范例的向量端点", "Endpoint that finds examples by meaning"),
        choices=[(say("不用，只按词语找", "None, by words alone"), "")],
        value="",
        visible=False,
        elem_id="zf-judge-embeddings",
    )
    path = gr.Textbox(label=say("模型文件夹", "Folder of the model"), visible=False, elem_id="zf-judge-path")
    with gr.Accordion(say("采样设置", "Sampling"), open=False), gr.Row():
        temperature = gr.Number(label="temperature", value=0, minimum=0, maximum=2)
        max_tokens = gr.Number(label="max_tokens", value=1024, minimum=16, precision=0)
    return [kind, name, endpoint, principles, agents, examples, embeddings, path, temperature, max_tokens]


def _samples(say: Say) -> list[Any]:
    """The boxes of a sample, in the order of `_sample`."""
    prompt = gr.Textbox(label=say("请求", "Request"), value=EXAMPLE[0], elem_id="zf-try-prompt")
    greeting = gr.Textbox(
        label=say("祝福语", "Greeting"), value=EXAMPLE[1], lines=3, elem_id="zf-try-greeting"
    )
    second = gr.Textbox(label=say("另一条祝福语", "The other one"), value=OTHER, lines=3, visible=False)
    return [prompt, greeting, second]


def _choosing(
    services: Services, say: Say, tab: gr.Tab, fork: gr.Dropdown, setup: list[Any], sample: list[Any]
) -> None:
    kind, name, endpoint, principles, agents, examples, embeddings, path, *_ = setup

    @polite(say)
    def load() -> list[Any]:
        return [
            _forks(services, say),
            gr.update(choices=endpoint_choices(services, say)),
            _embedders(services, say),
        ]

    @polite(say)
    def take(chosen: int) -> list[Any]:
        return _values(services.scoring.catalog.judge(int(chosen))) if chosen else [gr.skip()] * len(setup)

    @polite(say)
    def fit(chosen: str, named: str) -> list[Any]:
        wanted = JudgeKind(chosen)
        return [
            chosen if named in set(JudgeKind) else named,
            gr.update(visible=wanted is JudgeKind.PRINCIPLE),
            gr.update(visible=wanted is JudgeKind.PANEL),
            gr.update(visible=wanted is JudgeKind.PANEL),
            gr.update(visible=wanted is JudgeKind.PANEL),
            gr.update(visible=wanted is JudgeKind.REWARD_MODEL),
            gr.update(visible=wanted is JudgeKind.PAIRWISE),
            gr.update(visible=wanted in ASKING),
        ]

    fill_tab(tab, load, [fork, endpoint, embeddings])
    fork.change(take, fork, setup, queue=False, show_progress="hidden")
    shown = [name, principles, agents, examples, embeddings, path, sample[2], endpoint]
    kind.change(fit, [kind, name], shown, queue=False, show_progress="hidden")


def _previewing(services: Services, say: Say, boxes: list[Any], told: gr.HTML, preview: gr.HTML) -> None:
    @polite(say)
    def look(*given: Any) -> list[str]:
        try:
            spec = _spec(*given[:SETTINGS])
            shown = services.scoring.preview(spec, _sample(spec.kind, *given[SETTINGS:]))
        except UserError as error:
            return [note(say.of(error), "bad"), ""]
        return [_count(say, spec) + _no_model(services, say, shown), _prompts(say, shown)]

    quiet: dict[str, Any] = {"queue": False, "show_progress": "hidden"}
    gr.on(None, look, boxes, [told, preview], **quiet)
    changes = [box.change for box in boxes]
    gr.on(changes, look, boxes, [told, preview], trigger_mode="always_last", **quiet)


def _keeping(services: Services, say: Say, setup: list[Any], save: gr.Button, shown: list[Any]) -> None:
    @polite(say)
    def keep(*given: Any) -> list[Any]:
        try:
            info = services.scoring.catalog.save(_spec(*given))
        except UserError as error:
            return [note(say.of(error), "bad"), gr.skip()]
        saved = say(
            f"已保存“{info.name}”，版本 {info.version}。", f"Saved “{info.name}”, version {info.version}."
        )
        return [note(saved, "ok"), _forks(services, say)]

    save.click(keep, setup, shown, queue=False)
    # A place of its own, emptied in the browser: a late preview must not wipe out what was just saved.
    gr.on([box.input for box in setup], None, None, shown[0], js="() => ''")


def _trying(services: Services, say: Say, boxes: list[Any], go: gr.Button, shown: list[Any]) -> None:
    @polite(say)
    def try_it(*given: Any) -> list[str]:
        try:
            spec = _spec(*given[:SETTINGS])
            draft = services.scoring.judge_one(spec, _sample(spec.kind, *given[SETTINGS:]))
        except UserError as error:
            return [note(say.of(error), "bad"), ""]
        raw = str((draft.details or {}).get("raw", "–"))
        return [_verdict(say, spec.kind, draft), _pre(raw)]

    go.click(try_it, boxes, shown)


def _forks(services: Services, say: Say) -> dict[str, Any]:
    known = [
        (label(say, info), info.id)
        for info in services.scoring.catalog.judges()
        if info.spec and info.spec.kind in MADE
    ]
    return gr.update(choices=[(say("从头开始", "From scratch"), 0), *known])


def _embedders(services: Services, say: Say) -> dict[str, Any]:
    names = [info.name for info in services.endpoints.endpoints()]
    words = say("不用，只按词语找", "None, by words alone")
    return gr.update(choices=[(words, ""), *((name, name) for name in names)])


def _spec(
    kind: str,
    name: str,
    endpoint: str,
    principles: str,
    agents: Sequence[str],
    examples: float | None,
    embeddings: str | None,
    path: str,
    temperature: float | None,
    max_tokens: float | None,
) -> JudgeSpec:
    made, config = JudgeKind(kind), dict[str, Any]()
    if made in ASKING:
        config = {"temperature": temperature or 0, "max_tokens": int(max_tokens or 0)}
    if made is JudgeKind.PRINCIPLE:
        config["principles"] = list(parse_principles(principles or ""))
    if made is JudgeKind.PANEL:
        config |= {agent: agent in (agents or ()) for agent in AGENTS}
        config |= {"examples": int(examples or 0)} | ({"embeddings": embeddings} if embeddings else {})
    if made is JudgeKind.REWARD_MODEL:
        config["path"] = (path or "").strip()
    return JudgeSpec(made, (name or "").strip(), (endpoint or None) if made in ASKING else None, config)


def _values(info: JudgeInfo) -> list[Any]:
    assert info.spec is not None
    config = info.spec.config
    rules = config.get("principles")
    return [
        info.spec.kind.value,
        info.name,
        info.spec.endpoint or "",
        numbered(tuple(rules) if rules else starting_principles()),
        [agent for agent in AGENTS if config.get(agent, True)],
        config.get("examples", 0),
        config.get("embeddings") or "",
        config.get("path", ""),
        config.get("temperature", 0),
        config.get("max_tokens", 1024),
    ]


def _sample(kind: JudgeKind, prompt: str, greeting: str, second: str) -> Sample | PairSample:
    if kind is JudgeKind.PAIRWISE:
        return PairSample(prompt or "", greeting or "", second or "")
    return Sample(prompt or "", greeting or "")


def _count(say: Say, spec: JudgeSpec) -> str:
    rules = spec.config.get("principles")
    if not rules:
        return ""
    used = f"{len(rules)} / {MAX_RULES}"
    return f'<p class="zf-note">{say(f"原则 {used} 条", f"{used} principles")}</p>'


def _no_model(services: Services, say: Say, shown: Sequence[str]) -> str:
    if not shown or services.endpoints.endpoints():
        return ""
    return note(
        say(
            "还没有模型端点：可以先写原则、看提示词；要试用，请先到“模型端点”里添加一个。",
            "No model endpoint yet: you can write principles and read the prompt; to try it, add one under "
            "“Endpoints”.",
        )
    )


def _prompts(say: Say, shown: Sequence[str]) -> str:
    if not shown:
        return f'<p class="zf-note">{say("这类裁判不发送提示词。", "This kind sends no prompt.")}</p>'
    if len(shown) == 1:
        return _pre(shown[0])
    return "".join(
        f"<h4>{say(f'第 {number} 次调用', f'Call {number}')}</h4>{_pre(text)}"
        for number, text in enumerate(shown, 1)
    )


def _pre(text: str) -> str:
    style = "white-space:pre-wrap;overflow-wrap:anywhere;max-height:26em;overflow:auto;font-size:13px"
    return f'<pre style="{style}">{esc(text)}</pre>'


def _verdict(say: Say, kind: JudgeKind, draft: Draft | PairDraft) -> str:
    if isinstance(draft, Draft):
        scale = _SCALES.get(kind, Scale.BINARY)
        return opinion(say, Opinion(draft.value, draft.reason, draft.details or {}), scale)
    word = say(*_OUTCOMES[draft.outcome]) if draft.outcome else say("未评", "unscored")
    reasons = "".join(f"<li>{esc(reason)}</li>" for reason in draft.reasons)
    return note(word, "ok" if draft.outcome else "warn") + f"<ul>{reasons}</ul>"
