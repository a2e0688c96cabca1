"""The campaigns page: who annotates what, how far it is, and the history of any item."""

from collections.abc import Callable
from typing import Any

import gradio as gr

from backend.errors import UserError
from backend.records import CampaignInfo, CampaignSpec
from backend.services import Services
from backend.vocabulary import CampaignKind
from ui.item_view import item_html
from ui.judge_names import judge_name
from ui.say import KINDS, Say
from ui.widgets import empty, esc, fill, html_block, note, polite, table, title

NOBODY = ""


def build(services: Services, say: Say) -> None:
    """The list, a form for a new campaign, and a look at one item."""
    html_block(
        title(
            say("标注任务", "Campaigns"),
            say(
                "选数据、定人数，请人来比较祝福，或验证裁判的判断。",
                "Choose data and raters an item; people compare greetings or validate a judge.",
            ),
        )
    )
    listed = html_block(elem_id="zf-campaigns")
    fill(polite(say)(lambda: _list(services, say)), listed)
    with gr.Tabs():
        with gr.Tab(say("新建", "New"), id="new"):
            _new(services, say, listed)
        with gr.Tab(say("关闭与重开", "Close and reopen"), id="close"):
            _close(services, say, listed)
        with gr.Tab(say("查一道题", "Look at an item"), id="item"):
            _item(services, say)


def _list(services: Services, say: Say) -> str:
    found = services.annotation.campaigns()
    if not found:
        return empty(say("还没有任务，在下面新建一个。", "No campaigns yet; make one below."))
    head = [
        say("任务", "Campaign"),
        say("类型", "Kind"),
        say("每题人数", "Raters an item"),
        say("完成", "Finished"),
        say("标签", "Labels"),
        say("参与者", "Raters"),
        say("状态", "State"),
        "",
    ]
    return table(head, [_row(say, info) for info in found], ("zf-text", "zf-text"))


def _row(say: Say, info: CampaignInfo) -> list[str]:
    state = say("已关闭", "closed") if info.closed else say("进行中", "open")
    judge = (
        f"<small>{esc(say('裁判', 'judge'))} {esc(judge_name(say, info.judge))}</small>" if info.judge else ""
    )
    go = (
        ""
        if info.closed
        else f'<a class="zf-a" href="/{say.lang}/annotate#c={info.id}">{esc(say("去标注", "annotate"))}</a>'
    )
    return [
        f"<b>{esc(info.name)}</b>",
        esc(say(*KINDS[info.kind])) + judge,
        str(info.k),
        f"{info.finished} / {info.items}",
        str(info.labels),
        str(info.raters),
        esc(state),
        go,
    ]


def _new(services: Services, say: Say, listed: gr.HTML) -> None:
    every = (say("全部", "All"), NOBODY)
    with gr.Row():
        name = gr.Textbox(label=say("名称", "Name"), max_length=120, elem_id="zf-campaign-name")
        kind = gr.Radio(
            label=say("类型", "Kind"),
            choices=[(say(*KINDS[value]), value.value) for value in CampaignKind],
            value=CampaignKind.COMPARE.value,
            elem_id="zf-campaign-kind",
        )
    with gr.Row():
        datasets = gr.Dropdown(
            label=say("数据集（不选就是全部）", "Data sets (none means all)"),
            choices=[],
            multiselect=True,
            elem_id="zf-campaign-datasets",
        )
        occasion = gr.Dropdown(label=say("场合", "Occasion"), choices=[every], value=NOBODY)
        recipient = gr.Dropdown(label=say("对象", "Recipient"), choices=[every], value=NOBODY)
        style = gr.Dropdown(label=say("风格", "Style"), choices=[every], value=NOBODY)
    with gr.Row():
        limit = gr.Number(
            label=say("最多多少题", "Items at most"), value=100, precision=0, elem_id="zf-campaign-limit"
        )
        k = gr.Number(label=say("每题几人", "Raters an item"), value=2, precision=0, elem_id="zf-campaign-k")
        judge = gr.Dropdown(
            label=say("裁判（仅验证任务）", "Judge (validate only)"),
            choices=[(say("不用", "none"), NOBODY)],
            value=NOBODY,
        )
        rubric = gr.Checkbox(
            label=say("请标注者分项打分（仅验证任务）", "Ask for dimensions (validate only)")
        )
    instructions = gr.Textbox(
        label=say("给标注者的说明", "Instructions for raters"), lines=2, max_length=2000
    )
    go = gr.Button(say("新建任务", "Make the campaign"), variant="primary", elem_id="zf-campaign-create")
    told = html_block(elem_id="zf-campaign-told")

    @polite(say)
    def load() -> list[Any]:
        facets = services.corpus.facets()
        names = [info.name for info in services.corpus.datasets()]
        tags = [
            gr.update(choices=[every, *((f"{tag}（{count}）", tag) for tag, count in counts.items())])
            for counts in (facets.occasions, facets.recipients, facets.styles)
        ]
        judges = [(say("不用", "none"), NOBODY), *((name, name) for name in services.board.judge_names())]
        return [gr.update(choices=names), *tags, gr.update(choices=judges)]

    @polite(say)
    def create(*given: Any) -> tuple[str, Any]:
        try:
            info = services.annotation.create_campaign(_spec(*given))
        except UserError as error:
            return note(say.of(error), "bad"), gr.skip()
        message = say(
            f"已新建“{info.name}”，共 {info.items} 题。把“标注”页的网址发给标注者即可。",
            f"“{info.name}” is made with {info.items} items. Send raters the address of the annotation page.",
        )
        return note(message, "ok"), _list(services, say)

    fill(load, datasets, occasion, recipient, style, judge)
    inputs = [name, kind, datasets, occasion, recipient, style, limit, k, judge, rubric, instructions]
    go.click(create, inputs, [told, listed], queue=False)


def _spec(
    name: str,
    kind: str,
    datasets: list[str] | None,
    occasion: str | None,
    recipient: str | None,
    style: str | None,
    limit: float | None,
    k: float | None,
    judge: str | None,
    rubric: bool,
    instructions: str | None,
) -> CampaignSpec:
    validate = kind == CampaignKind.VALIDATE
    return CampaignSpec(
        name=name or "",
        kind=CampaignKind.VALIDATE if validate else CampaignKind.COMPARE,
        k=int(k or 0),
        instructions=instructions or "",
        rubric=bool(rubric) and validate,
        datasets=tuple(datasets or ()),
        occasion=occasion or None,
        recipient=recipient or None,
        style=style or None,
        limit=int(limit or 0),
        seed=0,
        judge=(judge or None) if validate else None,
    )


def _close(services: Services, say: Say, listed: gr.HTML) -> None:
    which = gr.Dropdown(label=say("任务", "Campaign"), choices=[], elem_id="zf-close-which")
    lead = say(
        "关闭后不再收标注，已有的数据不动，随时可以重新打开。",
        "A closed campaign takes no more labels and keeps all it has; it can be reopened any time.",
    )
    html_block(f'<p class="zf-note">{esc(lead)}</p>')
    with gr.Row():
        close = gr.Button(say("关闭", "Close"), elem_id="zf-close")
        reopen = gr.Button(say("重新打开", "Reopen"), elem_id="zf-reopen")
    told = html_block(elem_id="zf-close-told")

    @polite(say)
    def load() -> Any:
        return gr.update(choices=[(info.name, info.id) for info in services.annotation.campaigns()])

    def changing(change: Callable[[int], None], zh: str, en: str) -> Callable[[int | None], list[Any]]:
        @polite(say)
        def act(campaign_id: int | None) -> list[Any]:
            if campaign_id is None:
                return [note(say("请先选一个任务。", "Choose a campaign first.")), gr.skip()]
            try:
                change(int(campaign_id))
            except UserError as error:
                return [note(say.of(error), "bad"), gr.skip()]
            name = next(info.name for info in services.annotation.campaigns() if info.id == campaign_id)
            return [note(say(f"{zh}“{name}”。", f"{en} “{name}”."), "ok"), _list(services, say)]

        return act

    fill(load, which)
    which.focus(load, None, which, queue=False, show_progress="hidden")
    shut = changing(services.annotation.close_campaign, "已关闭", "Closed")
    open_again = changing(services.annotation.reopen_campaign, "已重新打开", "Reopened")
    close.click(shut, which, [told, listed], queue=False)
    reopen.click(open_again, which, [told, listed], queue=False)


def _item(services: Services, say: Say) -> None:
    with gr.Row():
        number = gr.Number(
            label=say("题号", "Item number"), value=1, precision=0, minimum=1, elem_id="zf-item-number"
        )
        go = gr.Button(say("打开", "Open"), elem_id="zf-item-open")
    shown = html_block(elem_id="zf-item")

    @polite(say)
    def look(item_id: float | None) -> str:
        if not item_id:
            return note(say("请输入题号。", "Enter an item number."))
        try:
            return item_html(services, say, int(item_id))
        except UserError as error:
            return note(say.of(error), "bad")

    go.click(look, number, shown, queue=False)
    number.submit(look, number, shown, queue=False)
