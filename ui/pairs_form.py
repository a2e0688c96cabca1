"""A new run: requests, who writes, who judges, how pairs are made; estimated first, then started as a job."""

from pathlib import Path
from typing import Any

import gradio as gr

from backend.agents.pairing import Way
from backend.agents.plan import MOST, Plan, Wished
from backend.errors import UserError
from backend.judges.spec import JudgeKind, JudgeSpec
from backend.pairs.ablation import without
from backend.pairs.records import Checking, PairEstimate, PairRequest, Source, SourceKind
from backend.pairs.second import AGAIN, again
from backend.scoring.records import clock
from backend.services import Services
from ui.judge_names import KINDS, ROLES
from ui.judges_words import endpoint_choices, generator_label
from ui.pairs_words import WAYS, loss
from ui.say import Say
from ui.uploads import uploaded_file
from ui.widgets import fill_tab, html_block, note, polite, table, unless_chosen

LABELS = (JudgeKind.PANEL, JudgeKind.PRINCIPLE, JudgeKind.RUBRIC)
"""Kinds that say of a single greeting whether it is excellent."""
SAME, NOBODY = "again", "none"
SECONDS = {
    SAME: ("同一裁判换个随机种子再评", "the same judge at another draw"),
    NOBODY: ("不再评", "nobody"),
}
SECOND = 15
"""Its place among the boxes."""
MIXED, WITH, NONE = "mixed", "with", "none"
EXAMPLES = {MIXED: (False, True), WITH: (True,), NONE: (False,)}


class Form:
    """The boxes, in the order in which `request` reads them."""

    def __init__(self, services: Services, say: Say, tab: gr.Tab) -> None:
        self._services, self._say = services, say
        self.boxes: list[Any] = [*self._what(), *self._who(), *self._how()]
        with gr.Row():
            self.estimate = gr.Button(say("先估算", "Estimate first"), elem_id="zf-pairs-estimate")
            self.start = gr.Button(say("开始", "Start"), variant="primary", elem_id="zf-pairs-start")
        self.told = html_block(elem_id="zf-pairs-form-told")
        filled = [self.boxes[0], *self.boxes[3:6], self.boxes[SECOND]]
        fill_tab(tab, polite(say)(self._load), filled, [self.boxes[0], self.boxes[4], self.boxes[SECOND]])
        self.estimate.click(polite(say)(self._rough), self.boxes, self.told)

    def request(self, visit: gr.Request, *given: Any) -> PairRequest:
        """The run that the boxes describe. Raises UserError naming what is missing or wrong."""
        dataset, file, limit, generators, judge, endpoint, candidates, check, *rest = given
        way, heard, temperatures, examples, lengths, raters, balance, second, cost, calls, name = rest
        if not judge or not generators:
            raise UserError(
                "Choose at least one model that writes, and a judge.", "请选择至少一个写作模型和一个裁判。"
            )
        spec = self._services.scoring.catalog.resolve(str(judge), str(endpoint) or None)
        off = [role for role in ROLES if role not in (heard or ())] if spec.kind is JudgeKind.PANEL else []
        judges = without(spec, off)
        return PairRequest(
            source=_source(dataset, uploaded_file(visit, file), limit),
            plan=Plan(
                tuple(map(str, generators)),
                _whole(candidates),
                _numbers(temperatures),
                EXAMPLES.get(str(examples), EXAMPLES[MIXED]),
                tuple(Wished) if lengths else (Wished.FREE,),
            ),
            judge=judges,
            second=self._second(judges, str(second or ""), str(endpoint) or None) if balance else None,
            name=str(name or ""),
            way=Way(way) if way in set(Way) else Way.ALL,
            balance_length=bool(balance),
            balance_style=bool(balance),
            checking=Checking(float(check or 0) / 100, _whole(raters)),
            max_calls=_whole(calls) or None,
            max_cost=float(cost) if cost else None,
        )

    def _second(self, judge: JudgeSpec, wish: str, endpoint: str | None) -> JudgeSpec | None:
        if wish == NOBODY:
            return None
        return again(judge) if wish in ("", SAME) else self._services.scoring.catalog.resolve(wish, endpoint)

    def _rough(self, visit: gr.Request, *given: Any) -> str:
        try:
            rough = self._services.pairs.estimate(self.request(visit, *given))
        except UserError as error:
            return note(self._say.of(error), "bad")
        return estimate_html(self._say, rough)

    def _what(self) -> list[Any]:
        say = self._say
        with gr.Row():
            dataset = gr.Dropdown(
                label=say("请求来自数据集", "Requests of a data set"), choices=[], elem_id="zf-pairs-dataset"
            )
            limit = gr.Number(
                label=say("只取前几个（0 为全部）", "Only the first (0: all)"),
                value=0,
                minimum=0,
                precision=0,
                elem_id="zf-pairs-limit",
            )
        file = gr.File(
            label=say(
                "或者拖入文件：TXT 一行一个，或 JSON、CSV 等",
                "Or drop a file: TXT, one a line; JSON, CSV …",
            ),
            height=150,
            elem_id="zf-pairs-file",
        )
        return [dataset, file, limit]

    def _who(self) -> list[Any]:
        say = self._say
        with gr.Row():
            generators = gr.Dropdown(
                label=say("谁来写（可多选）", "Who writes (several are fine)"),
                choices=[],
                multiselect=True,
                elem_id="zf-pairs-generators",
            )
            judge = gr.Dropdown(label=say("谁来评", "Who judges"), choices=[], elem_id="zf-pairs-judge")
            endpoint = gr.Dropdown(
                label=say("裁判用的模型", "The judge's model"),
                choices=[("", "")],
                value="",
                elem_id="zf-pairs-endpoint",
            )
        with gr.Row():
            candidates = gr.Slider(
                2,
                MOST,
                4,
                step=1,
                label=say("每个请求写几条", "Candidates a request"),
                elem_id="zf-pairs-candidates",
            )
            check = gr.Slider(
                0,
                100,
                5,
                step=1,
                label=say("先请人盲评多少（%）", "Share that people check first (%)"),
                elem_id="zf-pairs-check",
            )
        return [generators, judge, endpoint, candidates, check]

    def _how(self) -> list[Any]:
        say = self._say
        with gr.Accordion(say("更多设置", "More settings"), open=False, elem_id="zf-pairs-more"):
            with gr.Row():
                way = gr.Radio(
                    label=say("怎么配对", "How to pair"),
                    choices=[(say(*words), each.value) for each, words in WAYS.items()],
                    value=Way.ALL.value,
                )
                heard = gr.CheckboxGroup(
                    label=say(
                        "评审团里谁在场（去掉一个就是消融）", "Agents of the panel (leave one out to ablate)"
                    ),
                    choices=[(say(*words), role) for role, words in ROLES.items()],
                    value=list(ROLES),
                    elem_id="zf-pairs-agents",
                )
            with gr.Row():
                temperatures = gr.Textbox(
                    label=say("温度（逗号隔开）", "Temperatures (by commas)"), value="0.7, 1.0"
                )
                examples = gr.Radio(
                    label=say("写之前看范例", "Examples before writing"),
                    choices=[
                        (say("有的看有的不看", "some"), MIXED),
                        (say("都看", "all"), WITH),
                        (say("都不看", "none"), NONE),
                    ],
                    value=MIXED,
                )
                lengths = gr.Checkbox(label=say("变着长短写", "Vary the length"), value=True)
            with gr.Row():
                raters = gr.Number(
                    label=say("每条给几人看", "People a greeting"), value=2, minimum=1, precision=0
                )
                balance = gr.Checkbox(
                    label=say("配平：不让字数和样子泄底", "Balance length and style"), value=True
                )
            second = gr.Dropdown(
                label=say(
                    "和字数对着来的对，谁来再评一次（两次都认才留）",
                    "Who judges again the pairs that go against length (both must agree)",
                ),
                choices=[(say(*SECONDS[SAME]), SAME), (say(*SECONDS[NOBODY]), NOBODY)],
                value=SAME,
                elem_id="zf-pairs-second",
            )
            with gr.Row():
                cost = gr.Number(
                    label=say("花费上限（0 为不限）", "Cap on cost (0: none)"), value=0, minimum=0
                )
                calls = gr.Number(
                    label=say("调用上限（0 为不限）", "Cap on calls (0: none)"),
                    value=0,
                    minimum=0,
                    precision=0,
                )
            name = gr.Textbox(
                label=say("名字（可不填）", "Name (may stay empty)"), max_length=50, elem_id="zf-pairs-name"
            )
        return [way, heard, temperatures, examples, lengths, raters, balance, second, cost, calls, name]

    def _load(self, dataset: str | None, judge: str | None, second: str | None) -> list[Any]:
        services, say = self._services, self._say
        sets = [(say("（不用）", "(none)"), "")]
        sets += [
            (say(f"{info.name}（{info.prompts:,} 个请求）", f"{info.name} ({info.prompts:,})"), info.name)
            for info in services.corpus.datasets()
            if info.prompts
        ]
        writers = [(generator_label(say, info), info.name) for info in services.generators.generators()]
        judges = _judges(services, say)
        usable = [name for _, name in judges]
        first = "panel" if "panel" in usable else None
        seconds = [*((say(*words), wish) for wish, words in SECONDS.items()), *judges]
        return [
            gr.update(choices=sets, **unless_chosen(dataset, [name for _, name in sets])),
            gr.update(choices=writers),
            gr.update(choices=judges, **unless_chosen(judge, [first, *usable])),
            gr.update(choices=endpoint_choices(services, say)),
            gr.update(choices=seconds, **unless_chosen(second, [wish for _, wish in seconds])),
        ]


def estimate_html(say: Say, rough: PairEstimate) -> str:
    """What a run will take, and which lines it will leave out."""
    told = note(
        say(
            f"{rough.prompts:,} 行里有 {rough.kept:,} 个可用的请求，写 {rough.candidates:,} 条候选：大约 "
            f"{rough.calls:,} 次调用、{rough.tokens:,} 个 token、花费 {rough.cost:.4f}、"
            f"用时 {clock(rough.seconds)}（粗略估计）。",
            f"{rough.kept:,} of {rough.prompts:,} lines are requests for a greeting, {rough.candidates:,} "
            f"candidates: about {rough.calls:,} calls, {rough.tokens:,} tokens, cost {rough.cost:.4f}, "
            f"{clock(rough.seconds)} (a rough estimate).",
        ),
        "ok" if rough.kept else "warn",
    )
    if not rough.lost:
        return told
    lost = sorted(rough.lost.items(), key=lambda item: -item[1])
    rows = [[loss(say, f"prompt_{why}"), f"{count:,}"] for why, count in lost]
    return told + table([say("不取的请求", "Left out"), say("行数", "Lines")], rows)


def _judges(services: Services, say: Say) -> list[tuple[str, str]]:
    stored = [
        info.name
        for info in services.scoring.catalog.judges()
        if info.newest and info.spec and info.spec.kind in LABELS and not info.name.endswith(AGAIN)
    ]
    kinds = [(say(*KINDS[kind]), kind.value) for kind in LABELS if kind.value not in stored]
    named = [(say(*KINDS[JudgeKind(name)]) if name in set(JudgeKind) else name, name) for name in stored]
    return [*kinds, *named]


def _source(dataset: Any, file: Path | None, limit: Any) -> Source:
    first = _whole(limit) or None
    if file:
        return Source(SourceKind.FILE, str(file), first)
    if dataset:
        return Source(SourceKind.DATASET, str(dataset), first)
    raise UserError(
        "Choose a data set, or drop a file with requests.", "请选择一个数据集，或放一个装着请求的文件。"
    )


def _whole(value: Any) -> int:
    return int(value) if isinstance(value, int | float) else 0


def _numbers(given: Any) -> tuple[float, ...]:
    try:
        return tuple(float(one) for one in str(given).replace("，", ",").split(",") if one.strip())
    except ValueError as error:
        raise UserError(
            "Write temperatures as numbers with commas, such as 0.7, 1.0.",
            "温度请写成用逗号隔开的数，例如 0.7, 1.0。",
        ) from error
