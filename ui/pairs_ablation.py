"""The panel without each of its agents, beside human labels: what it takes, start it, and the table."""

from typing import Any

import gradio as gr

from backend.errors import UserError
from backend.judges.spec import JudgeKind, JudgeSpec
from backend.pairs.ablation import AblationRow
from backend.scoring.records import clock
from backend.scoring.targets import Target, TargetKind
from backend.services import Services
from backend.vocabulary import CampaignKind
from ui.board_view import figure_on
from ui.judge_names import KINDS, ROLES, made_of
from ui.judges_words import endpoint_choices
from ui.say import Say
from ui.widgets import empty, esc, fill_tab, html_block, note, polite, table, unless_chosen

LEAD = (
    "每次去掉一个角色，让评审团重评同一批有人工标签的祝福，看它离人更近还是更远。去掉评审，就由复核直接下结论；"
    "连复核也去掉，就数优缺点，优点多才算优秀。评过的不会再问。",
    "Leave one agent out at a time and let the panel judge greetings with human labels again. Without the "
    "judge the reviewer decides alone; without both, merits are counted against faults. What is scored is "
    "not asked again.",
)
QUIET: dict[str, Any] = {"queue": False, "show_progress": "hidden"}


class Ablations:
    """The blocks of this tab."""

    def __init__(self, services: Services, say: Say, tab: gr.Tab) -> None:
        self._services, self._say = services, say
        html_block(f'<p class="zf-note">{esc(say(*LEAD))}</p>')
        with gr.Row():
            reference = gr.Dropdown(
                label=say("和谁的标签比", "Compared with"), choices=[], elem_id="zf-ablation-reference"
            )
            judge = gr.Dropdown(label=say("评审团", "Panel"), choices=[], elem_id="zf-ablation-judge")
            endpoint = gr.Dropdown(
                label=say("模型端点", "Endpoint"),
                choices=[("", "")],
                value="",
                elem_id="zf-ablation-endpoint",
            )
        with gr.Row():
            estimate = gr.Button(say("先估算", "Estimate first"), elem_id="zf-ablation-estimate")
            start = gr.Button(
                say("开始五种评法", "Start the five variants"), variant="primary", elem_id="zf-ablation-start"
            )
            compare = gr.Button(say("比较已有的结果", "Compare what is there"), elem_id="zf-ablation-compare")
        told = html_block(elem_id="zf-ablation-told")
        shown = html_block(elem_id="zf-ablation-table")
        boxes = [reference, judge, endpoint]
        load = polite(say)(self._load)
        fill_tab(tab, load, boxes, judge)
        estimate.click(polite(say)(self._estimate), boxes, told)
        start.click(polite(say)(self._start), boxes, told)
        compare.click(polite(say)(self._compare), boxes, [told, shown])

    def _load(self, judge: str | None) -> list[Any]:
        services, say = self._services, self._say
        sets = [
            (say(f"数据集 · {info.name}", f"data set · {info.name}"), f"dataset:{info.name}")
            for info in services.corpus.datasets()
            if info.labels
        ]
        rounds = [
            (say(f"任务 · {info.name}", f"campaign · {info.name}"), f"campaign:{info.name}")
            for info in services.annotation.campaigns()
            if info.kind is CampaignKind.VALIDATE and info.labels
        ]
        panels = [
            info.name
            for info in services.scoring.catalog.judges()
            if info.newest and info.spec and info.spec.kind is JudgeKind.PANEL and not made_of(info.name)
        ]
        kind = [] if "panel" in panels else [(say(*KINDS[JudgeKind.PANEL]), JudgeKind.PANEL.value)]
        named = [(say(*KINDS[JudgeKind.PANEL]) if name == "panel" else name, name) for name in panels]
        return [
            gr.update(choices=[*sets, *rounds]),
            gr.update(choices=[*kind, *named], **unless_chosen(judge, ["panel", *panels])),
            gr.update(choices=endpoint_choices(services, say)),
        ]

    def _asked(self, reference: Any, judge: Any, endpoint: Any) -> tuple[JudgeSpec, Target]:
        if not reference or not judge:
            raise UserError("Choose labels and a panel.", "请选择人工标签和评审团。")
        kind, _, name = str(reference).partition(":")
        target = Target(TargetKind(kind if kind in set(TargetKind) else "dataset"), name)
        return self._services.scoring.catalog.resolve(str(judge), str(endpoint or "") or None), target

    def _estimate(self, *given: Any) -> str:
        say = self._say
        try:
            rough = self._services.ablation.estimate(*self._asked(*given))
        except UserError as error:
            return note(say.of(error), "bad")
        calls, cost = sum(one.calls for one in rough), sum(one.cost for one in rough)
        time = clock(sum(one.seconds for one in rough))
        return note(
            say(
                f"五种评法一共大约 {calls:,} 次调用、花费 {cost:.4f}、用时 {time}（粗略估计）。",
                f"The five variants take about {calls:,} calls, cost {cost:.4f}, {time} (a rough estimate).",
            ),
            "ok",
        )

    def _start(self, *given: Any) -> str:
        say = self._say
        try:
            jobs = self._services.ablation.submit(*self._asked(*given))
        except UserError as error:
            return note(say.of(error), "bad")
        numbers = (
            "、".join(str(job.id) for job in jobs) if say.lang == "zh" else ", ".join(str(j.id) for j in jobs)
        )
        told = say(
            f"已加入队列，任务 {numbers}；进度在“裁判 → 评判任务”。做完后点“比较已有的结果”。",
            f"Queued as jobs {numbers}; watch them under Judges → Scoring runs, then press Compare.",
        )
        return note(told, "ok")

    def _compare(self, *given: Any) -> list[str]:
        say = self._say
        try:
            spec, target = self._asked(*given)
            rows = self._services.ablation.table(spec, target.name)
        except UserError as error:
            return [note(say.of(error), "bad"), ""]
        if not rows:
            return [
                "",
                empty(
                    say(
                        "这些祝福还没有评过，先点“开始五种评法”。",
                        "Nothing is scored yet; start the variants.",
                    )
                ),
            ]
        return ["", ablation_html(say, rows)]


def ablation_html(say: Say, rows: list[AblationRow]) -> str:
    """One line a variant, each figure with its interval."""
    head = [
        say("评法", "Variant"),
        say("条数", "n"),
        say("未问", "Never asked"),
        say("无结论", "No verdict"),
        say("平", "Ties"),
        say("准确率", "Accuracy"),
        "κ",
        "AUC",
        say("等长 AUC", "Length-matched AUC"),
    ]
    body = [
        [
            esc(_variant(say, row.off)),
            f"{row.figures.n:,}",
            f"{row.figures.never_asked:,}",
            f"{row.figures.without_verdict:,}",
            f"{row.figures.ties:,}",
            *(
                figure_on(say, getattr(row.figures, name), row.figures.n)
                for name in ("accuracy", "kappa", "auc", "matched_auc")
            ),
        ]
        for row in rows
    ]
    return table(head, body)


def _variant(say: Say, off: str) -> str:
    if not off:
        return say("完整的评审团", "The whole panel")
    name = say(*ROLES.get(off, (off, off)))
    return say(f"去掉{name}", f"Without {name.lower()}")
