"""The annotation pages: an empty root for `assets/annotate.js`; campaigns, and a look at any item."""

from collections.abc import Callable
from typing import Any

import gradio as gr
from markupsafe import Markup

from backend.annotation.records import CampaignInfo, CampaignSpec
from backend.core.enums import RUBRIC_WEIGHTS, CampaignKind, Flaw
from backend.core.errors import UserError
from backend.services import Services
from ui.components.form import BoxForm, EnteredValues
from ui.components.history import history_html
from ui.components.judges import judge_name
from ui.components.language import CAMPAIGN_KIND_NAMES, DIMENSION_NAMES, FLAW_NAMES, Translator
from ui.components.templates import render
from ui.components.widgets import (
    caption_html,
    empty_notice,
    fill_on_load,
    friendly_errors,
    html_block,
    note,
    page_title,
    script_root,
)


def build_annotate_page(services: Services, translate: Translator) -> None:  # noqa: ARG001
    """Name → campaign → items, by keyboard or touch."""
    page_words = {
        # A list and not an object: the script shows them in this order.
        "flaws": [[flaw.value, translate(*FLAW_NAMES[flaw])] for flaw in Flaw],
        "dimensions": [
            [dimension, translate(*DIMENSION_NAMES[dimension]), weight] for dimension, weight in RUBRIC_WEIGHTS.items()
        ],
    }
    html_block(script_root("zf-annotate", translate, page_words), elem_id="zf-annotate-page")


def item_html(services: Services, translate: Translator, item_id: int) -> Markup:
    """The item and its history. Raises NotFound."""
    annotated_item = services.annotation.item(item_id)
    lettered_greetings = (
        [("A", annotated_item.a)] if annotated_item.b is None else [("A", annotated_item.a), ("B", annotated_item.b)]
    )
    return render(
        "annotation/templates/item.html",
        item=annotated_item,
        greetings=[(f"{letter} · {greeting.source}", greeting.text) for letter, greeting in lettered_greetings],
        history=history_html(translate, services.annotation.history(item_id)),
    )


NOT_CHOSEN = ""
# Boxes whose choices are read from the corpus and the judges when the page opens.
LOADED_CHOICES = ("datasets", "occasion", "recipient", "style", "judge")


def build_page(services: Services, translate: Translator) -> None:
    """The list, a form for a new campaign, and a look at one item."""
    html_block(
        page_title(
            translate("标注任务", "Campaigns"),
            translate(
                "选数据、定人数，请人来比较祝福，或验证裁判的判断。",
                "Choose data and raters an item; people compare greetings or validate a judge.",
            ),
        )
    )
    campaign_list = html_block(elem_id="zf-campaigns")
    fill_on_load(friendly_errors(translate)(lambda: _campaign_table(services, translate)), campaign_list)
    with gr.Tabs():
        with gr.Tab(translate("新建", "New"), id="new"):
            _build_new_tab(services, translate, campaign_list)
        with gr.Tab(translate("关闭与重开", "Close and reopen"), id="close"):
            _build_close_tab(services, translate, campaign_list)
        with gr.Tab(translate("查一道题", "Look at an item"), id="item"):
            _build_item_tab(services, translate)


def _campaign_table(services: Services, translate: Translator) -> Markup:
    campaigns = services.annotation.campaigns()
    if not campaigns:
        return empty_notice(translate("还没有任务，在下面新建一个。", "No campaigns yet; make one below."))
    header_cells = [
        translate("任务", "Campaign"),
        translate("类型", "Kind"),
        translate("每题人数", "Raters an item"),
        translate("完成", "Finished"),
        translate("标签", "Labels"),
        translate("参与者", "Raters"),
        translate("状态", "State"),
        "",
    ]
    return render(
        "annotation/templates/campaigns.html",
        translate=translate,
        header_cells=header_cells,
        campaign_lines=[_campaign_line(translate, campaign) for campaign in campaigns],
    )


def _campaign_line(translate: Translator, campaign: CampaignInfo) -> tuple[CampaignInfo, str, str]:
    """A campaign, what its kind is called, and the judge that it validates."""
    validated_judge = judge_name(translate, campaign.judge) if campaign.judge else ""
    return campaign, translate(*CAMPAIGN_KIND_NAMES[campaign.kind]), validated_judge


def _build_new_tab(services: Services, translate: Translator, campaign_list: gr.HTML) -> None:
    campaign_form = _build_campaign_form(translate)
    create_button = gr.Button(
        translate("新建任务", "Make the campaign"), variant="primary", elem_id="zf-campaign-create"
    )
    message_block = html_block(elem_id="zf-campaign-told")

    @friendly_errors(translate)
    def load_choices() -> dict[Any, Any]:
        return campaign_form.fill(_choice_updates(services, translate))

    @friendly_errors(translate)
    @campaign_form.named
    def create_campaign(entered: EnteredValues) -> tuple[str, Any]:
        try:
            campaign = services.annotation.create_campaign(_campaign_spec(entered))
        except UserError as error:
            return note(translate.localize(error), "bad"), gr.skip()
        message = translate(
            f"已新建“{campaign.name}”，共 {campaign.items} 题。把“标注”页的网址发给标注者即可。",
            f"“{campaign.name}” is made with {campaign.items} items. Send raters the address of the annotation page.",
        )
        return note(message, "ok"), _campaign_table(services, translate)

    fill_on_load(load_choices, *campaign_form.pick_outputs(LOADED_CHOICES))
    # Without the queue no toast can be shown: a UserError is answered in the block beside the button.
    create_button.click(create_campaign, campaign_form.inputs, [message_block, campaign_list], queue=False)


def _build_campaign_form(translate: Translator) -> BoxForm:
    """The boxes of a new campaign, row by row from the top of the page."""
    campaign_form = BoxForm(**_kind_boxes(translate), **_filter_boxes(translate), **_rater_boxes(translate))
    campaign_form.add(
        "instructions",
        gr.Textbox(label=translate("给标注者的说明", "Instructions for raters"), lines=2, max_length=2000),
    )
    return campaign_form


def _kind_boxes(translate: Translator) -> dict[str, Any]:
    with gr.Row():
        name_box = gr.Textbox(label=translate("名称", "Name"), max_length=120, elem_id="zf-campaign-name")
        kind_choice = gr.Radio(
            label=translate("类型", "Kind"),
            choices=[
                (translate(*CAMPAIGN_KIND_NAMES[campaign_kind]), campaign_kind.value) for campaign_kind in CampaignKind
            ],
            value=CampaignKind.COMPARE.value,
            elem_id="zf-campaign-kind",
        )
    return {"name": name_box, "kind": kind_choice}


def _filter_boxes(translate: Translator) -> dict[str, Any]:
    """Which greetings of the corpus may become items."""
    all_choice = _all_choice(translate)
    with gr.Row():
        dataset_choice = gr.Dropdown(
            label=translate("数据集（不选就是全部）", "Data sets (none means all)"),
            choices=[],
            multiselect=True,
            elem_id="zf-campaign-datasets",
        )
        occasion_choice = gr.Dropdown(label=translate("场合", "Occasion"), choices=[all_choice], value=NOT_CHOSEN)
        recipient_choice = gr.Dropdown(label=translate("对象", "Recipient"), choices=[all_choice], value=NOT_CHOSEN)
        style_choice = gr.Dropdown(label=translate("风格", "Style"), choices=[all_choice], value=NOT_CHOSEN)
    return {
        "datasets": dataset_choice,
        "occasion": occasion_choice,
        "recipient": recipient_choice,
        "style": style_choice,
    }


def _rater_boxes(translate: Translator) -> dict[str, Any]:
    """How many items and raters, and what a validation asks besides."""
    with gr.Row():
        limit_box = gr.Number(
            label=translate("最多多少题", "Items at most"),
            value=100,
            precision=0,
            elem_id="zf-campaign-limit",
        )
        raters_box = gr.Number(
            label=translate("每题几人", "Raters an item"), value=2, precision=0, elem_id="zf-campaign-k"
        )
        judge_choice = gr.Dropdown(
            label=translate("裁判（仅验证任务）", "Judge (validate only)"),
            choices=[_no_judge_choice(translate)],
            value=NOT_CHOSEN,
        )
        rubric_box = gr.Checkbox(
            label=translate("请标注者分项打分（仅验证任务）", "Ask for dimensions (validate only)")
        )
    return {"limit": limit_box, "raters": raters_box, "judge": judge_choice, "rubric": rubric_box}


def _all_choice(translate: Translator) -> tuple[str, str]:
    return translate("全部", "All"), NOT_CHOSEN


def _no_judge_choice(translate: Translator) -> tuple[str, str]:
    return translate("不用", "none"), NOT_CHOSEN


def _choice_updates(services: Services, translate: Translator) -> dict[str, Any]:
    """The choices that depend on what is stored, by the names in LOADED_CHOICES."""
    facets = services.corpus.facets()
    dataset_names = [dataset.name for dataset in services.corpus.datasets()]
    tag_updates = {
        box_name: gr.update(
            choices=[
                _all_choice(translate),
                *((f"{tag_name}（{tag_count}）", tag_name) for tag_name, tag_count in tag_counts.items()),
            ]
        )
        for box_name, tag_counts in (
            ("occasion", facets.occasions),
            ("recipient", facets.recipients),
            ("style", facets.styles),
        )
    }
    judge_choices = [
        _no_judge_choice(translate),
        *((registered_name, registered_name) for registered_name in services.board.judge_names()),
    ]
    return {"datasets": gr.update(choices=dataset_names), **tag_updates, "judge": gr.update(choices=judge_choices)}


def _campaign_spec(entered: EnteredValues) -> CampaignSpec:
    is_validation = entered["kind"] == CampaignKind.VALIDATE
    return CampaignSpec(
        name=entered["name"] or "",
        kind=CampaignKind.VALIDATE if is_validation else CampaignKind.COMPARE,
        k=int(entered["raters"] or 0),
        instructions=entered["instructions"] or "",
        rubric=bool(entered["rubric"]) and is_validation,
        datasets=tuple(entered["datasets"] or ()),
        occasion=entered["occasion"] or None,
        recipient=entered["recipient"] or None,
        style=entered["style"] or None,
        limit=int(entered["limit"] or 0),
        # The same request draws the same items, so that a campaign can be made again.
        seed=0,
        judge=(entered["judge"] or None) if is_validation else None,
    )


def _build_close_tab(services: Services, translate: Translator, campaign_list: gr.HTML) -> None:
    campaign_choice = gr.Dropdown(label=translate("任务", "Campaign"), choices=[], elem_id="zf-close-which")
    lead_text = translate(
        "关闭后不再收标注，已有的数据不动，随时可以重新打开。",
        "A closed campaign takes no more labels and keeps all it has; it can be reopened any time.",
    )
    html_block(caption_html(lead_text))
    with gr.Row():
        close_button = gr.Button(translate("关闭", "Close"), elem_id="zf-close")
        reopen_button = gr.Button(translate("重新打开", "Reopen"), elem_id="zf-reopen")
    message_block = html_block(elem_id="zf-close-told")

    @friendly_errors(translate)
    def load_campaigns() -> Any:
        return gr.update(choices=[(campaign.name, campaign.id) for campaign in services.annotation.campaigns()])

    def changing_handler(change_campaign: Callable[[int], None], zh: str, en: str) -> Callable[[int | None], list[Any]]:
        @friendly_errors(translate)
        def apply_change(campaign_id: int | None) -> list[Any]:
            if campaign_id is None:
                return [note(translate("请先选一个任务。", "Choose a campaign first.")), gr.skip()]
            try:
                change_campaign(int(campaign_id))
            except UserError as error:
                return [note(translate.localize(error), "bad"), gr.skip()]
            # The name as it is stored: the dropdown may hold the list of an hour ago.
            campaign_name = next(
                campaign.name for campaign in services.annotation.campaigns() if campaign.id == campaign_id
            )
            return [
                note(translate(f"{zh}“{campaign_name}”。", f"{en} “{campaign_name}”."), "ok"),
                _campaign_table(services, translate),
            ]

        return apply_change

    fill_on_load(load_campaigns, campaign_choice)
    # Campaigns may have been made in the other tab since the page was opened.
    campaign_choice.focus(load_campaigns, None, campaign_choice, queue=False, show_progress="hidden")
    close_handler = changing_handler(services.annotation.close_campaign, "已关闭", "Closed")
    reopen_handler = changing_handler(services.annotation.reopen_campaign, "已重新打开", "Reopened")
    close_button.click(close_handler, campaign_choice, [message_block, campaign_list], queue=False)
    reopen_button.click(reopen_handler, campaign_choice, [message_block, campaign_list], queue=False)


def _build_item_tab(services: Services, translate: Translator) -> None:
    with gr.Row():
        number_box = gr.Number(
            label=translate("题号", "Item number"), value=1, precision=0, minimum=1, elem_id="zf-item-number"
        )
        open_button = gr.Button(translate("打开", "Open"), elem_id="zf-item-open")
    item_block = html_block(elem_id="zf-item")

    @friendly_errors(translate)
    def show_item(item_id: float | None) -> str:
        if not item_id:
            return note(translate("请输入题号。", "Enter an item number."))
        try:
            return item_html(services, translate, int(item_id))
        except UserError as error:
            return note(translate.localize(error), "bad")

    open_button.click(show_item, number_box, item_block, queue=False)
    number_box.submit(show_item, number_box, item_block, queue=False)
