"""The pairs of a run: filters, a table, and one pair as the conversations behind it."""

from typing import Any

import gradio as gr
from markupsafe import Markup

from backend.core.enums import Decider, PairState
from backend.core.errors import UserError
from backend.core.text import count_characters, parse_row_number
from backend.preferences.records import PairDetail, PairFilter, PairPage, PairRow
from backend.services import Services
from ui.components.language import Translator
from ui.components.templates import render
from ui.components.widgets import (
    ROW_CLICK,
    empty_notice,
    friendly_errors,
    html_block,
    note,
    row_click_script,
)
from ui.preferences.debate import debate_html
from ui.preferences.names import DECIDER_NAMES, STATE_NAMES, state_pill

PAGE_SIZE = 20
SILENT_EVENT: dict[str, Any] = {"queue": False, "show_progress": "hidden"}
SCROLL_SCRIPT = "() => document.getElementById('zf-pair-card')?.scrollIntoView({ behavior: 'smooth', block: 'start' })"
DECISION_LABELS = {
    "accept": ("认可", "Accept"),
    "flip": ("对调：落选的更好", "Flip: the other is better"),
    "discard": ("丢弃这一对", "Discard"),
}
DECISION_MESSAGES = {
    PairState.ACCEPTED: ("已认可第 {} 对，照裁判说的用。", "Pair {} accepted as the judge decided."),
    PairState.FLIPPED: (
        "已对调第 {} 对：现在落选的那条成了更好的，导出和训练马上照新的来。",
        "Pair {} flipped: export and training take the other greeting as the better one from now on.",
    ),
    PairState.DISCARDED: (
        "已丢弃第 {} 对：导出和训练不再用它。",
        "Pair {} discarded: export and training leave it out.",
    ),
}
SeenPair = tuple[int, str] | None


class PairTableTab:
    """The blocks of this tab. What is open is kept on the server with the state it was seen in."""

    def __init__(self, services: Services, translate: Translator, table_tab: gr.Tab, run_dropdown: gr.Dropdown) -> None:
        self._services, self._translate, self._run_dropdown = services, translate, run_dropdown
        self._filter_boxes = self._build_filters()
        self._open_state: gr.State = gr.State(None)
        self._page_index: gr.State = gr.State(0)
        self._card_block = html_block(elem_id="zf-pair-card")
        with gr.Column(visible=False) as self._decision_column:
            self._decision_inputs = self._build_decision()
        self._message_block = html_block(elem_id="zf-pair-decided")
        self._table_block = html_block(elem_id="zf-pair-table", js_on_load=row_click_script("pair"))
        with gr.Row():
            previous_button = gr.Button(translate("上一页", "Previous"), min_width=100)
            next_button = gr.Button(translate("下一页", "Next"), min_width=100)
        self._wire_events(table_tab, previous_button, next_button)

    def _build_filters(self) -> list[Any]:
        translate = self._translate
        any_choice = (translate("全部", "All"), "")
        with gr.Row():
            state_dropdown = gr.Dropdown(
                label=translate("状态", "State"),
                choices=[
                    any_choice,
                    *(
                        (translate(*bilingual_label), enum_member.value)
                        for enum_member, bilingual_label in STATE_NAMES.items()
                    ),
                ],
                value="",
                elem_id="zf-pair-state",
            )
            decider_dropdown = gr.Dropdown(
                label=translate("谁定的", "Decided by"),
                choices=[
                    any_choice,
                    *(
                        (translate(*bilingual_label), enum_member.value)
                        for enum_member, bilingual_label in DECIDER_NAMES.items()
                    ),
                ],
                value="",
            )
            generator_dropdown = gr.Dropdown(label=translate("谁写的", "Written by"), choices=[any_choice], value="")
            search_box = gr.Textbox(label=translate("包含文字", "Contains"), elem_id="zf-pair-search", max_length=100)
            overturned_checkbox = gr.Checkbox(label=translate("只看复核推翻过的", "Only where the review overturned"))
        return [state_dropdown, decider_dropdown, generator_dropdown, search_box, overturned_checkbox]

    def _build_decision(self) -> list[Any]:
        translate = self._translate
        with gr.Row(elem_classes="zf-acts"):
            decision_buttons = [
                gr.Button(
                    translate(*bilingual_label),
                    variant={"accept": "primary", "discard": "stop"}.get(action, "secondary"),  # type: ignore[arg-type]
                    elem_id=f"zf-pair-{action}",
                )
                for action, bilingual_label in DECISION_LABELS.items()
            ]
            next_pair_button = gr.Button(translate("下一对", "Next pair"), elem_id="zf-pair-next")
        with gr.Row():
            name_box = gr.Textbox(
                label=translate("你的名字（记在这一对上）", "Your name (kept with the pair)"),
                max_length=40,
                elem_id="zf-pair-name",
            )
            reason_box = gr.Textbox(
                label=translate("为什么（可不填）", "Why (may stay empty)"),
                max_length=500,
                elem_id="zf-pair-note",
            )
        return [*decision_buttons, next_pair_button, name_box, reason_box]

    def _wire_events(self, table_tab: gr.Tab, previous_button: gr.Button, next_button: gr.Button) -> None:
        translate, run_dropdown, filter_boxes = self._translate, self._run_dropdown, self._filter_boxes
        show_page, page_outputs = (
            friendly_errors(translate)(self._show_page),
            [self._table_block, self._page_index],
        )
        page_inputs = [run_dropdown, self._page_index, *filter_boxes]
        table_tab.select(show_page, page_inputs, page_outputs, **SILENT_EVENT)
        gr.on(
            [filter_box.change for filter_box in filter_boxes],
            lambda run_id, _, *filter_values: show_page(run_id, 0, *filter_values),
            page_inputs,
            page_outputs,
            **SILENT_EVENT,
        )
        previous_button.click(
            lambda run_id, page_index, *filter_values: show_page(run_id, page_index - 1, *filter_values),
            page_inputs,
            page_outputs,
            **SILENT_EVENT,
        )
        next_button.click(
            lambda run_id, page_index, *filter_values: show_page(run_id, page_index + 1, *filter_values),
            page_inputs,
            page_outputs,
            **SILENT_EVENT,
        )
        run_dropdown.change(
            friendly_errors(translate)(self._reset_for_run),
            run_dropdown,
            [filter_boxes[2], self._open_state, self._card_block, self._decision_column, self._message_block],
            **SILENT_EVENT,
        )
        run_dropdown.change(
            lambda run_id, _, *filter_values: show_page(run_id, 0, *filter_values),
            page_inputs,
            page_outputs,
            **SILENT_EVENT,
        )
        card_outputs = [self._open_state, self._card_block, self._decision_column, self._message_block]
        open_event = self._table_block.click(
            friendly_errors(translate)(self._open_clicked), None, card_outputs, **ROW_CLICK
        )
        open_event.then(None, js=SCROLL_SCRIPT)
        *decision_buttons, next_pair_button, name_box, reason_box = self._decision_inputs
        for button, action in zip(decision_buttons, DECISION_LABELS, strict=True):
            decision_event = button.click(
                self._decision_handler(action),
                [self._open_state, name_box, reason_box],
                [*card_outputs, reason_box],
                **SILENT_EVENT,
            )
            decision_event.then(show_page, page_inputs, page_outputs, **SILENT_EVENT)
        next_event = next_pair_button.click(
            friendly_errors(translate)(self._open_next),
            [self._open_state, *page_inputs],
            card_outputs,
            **SILENT_EVENT,
        )
        next_event.then(None, js=SCROLL_SCRIPT)

    def _show_page(self, run_id: Any, page_index: Any, *filter_values: Any) -> list[Any]:
        if not run_id:
            empty_html = no_runs_html(self._translate)
            return [empty_html, 0]
        pair_filter, page_number = _read_filter(*filter_values), max(0, int(page_index or 0))
        pair_page = self._services.pairs.pair_page(int(run_id), pair_filter, page_number * PAGE_SIZE, PAGE_SIZE)
        last_page = max(0, (pair_page.total - 1) // PAGE_SIZE)
        if page_number > last_page:
            return self._show_page(run_id, last_page, *filter_values)
        return [_page_html(self._translate, pair_page, page_number, last_page), page_number]

    def _reset_for_run(self, run_id: Any) -> list[Any]:
        """Another run was chosen: its generators to filter by, and no pair open."""
        translate = self._translate
        generator_names = list(self._services.pairs.find_run(int(run_id)).request.plan.generators) if run_id else []
        generator_update = gr.update(
            choices=[
                (translate("全部", "All"), ""),
                *((generator_name, generator_name) for generator_name in generator_names),
            ],
            value="",
        )
        return [generator_update, None, "", gr.update(visible=False), ""]

    def _open_clicked(self, event: gr.EventData) -> list[Any]:
        pair_id = parse_row_number(getattr(event, "pair", None))
        return [gr.skip()] * 4 if pair_id is None else self._show_pair(pair_id)

    def _show_pair(self, pair_id: int) -> list[Any]:
        try:
            pair_detail = self._services.pairs.pair_detail(pair_id)
        except UserError as error:
            return [None, "", gr.update(visible=False), note(self._translate.localize(error), "bad")]
        return [*self._pair_card(pair_detail), ""]

    def _pair_card(self, pair_detail: PairDetail) -> list[Any]:
        seen_pair = (pair_detail.id, pair_detail.state.value)
        return [seen_pair, debate_html(self._translate, pair_detail), gr.update(visible=True)]

    def _decision_handler(self, action: str) -> Any:
        @friendly_errors(self._translate)
        def apply_decision(seen_pair: SeenPair, person_name: str, reason: str) -> list[Any]:
            translate = self._translate
            if seen_pair is None:
                return [
                    gr.skip(),
                    gr.skip(),
                    gr.skip(),
                    note(translate("请先点开一对。", "Open a pair first.")),
                    gr.skip(),
                ]
            pair_id, seen_state = seen_pair
            try:
                pair_detail = self._services.pairs.decide(
                    pair_id, action, person_name or "", reason or "", PairState(seen_state)
                )
            except UserError as error:
                return [*self._show_pair(pair_id)[:3], note(translate.localize(error), "bad"), gr.skip()]
            return [
                *self._pair_card(pair_detail),
                note(translate(*DECISION_MESSAGES[pair_detail.state]).format(pair_id), "ok"),
                "",
            ]

        return apply_decision

    def _open_next(self, seen_pair: SeenPair, run_id: Any, page_index: Any, *filter_values: Any) -> list[Any]:
        """The pair after the open one on this page of the table, or the first of the page."""
        pair_page = self._services.pairs.pair_page(
            int(run_id or 0), _read_filter(*filter_values), int(page_index or 0) * PAGE_SIZE, PAGE_SIZE
        )
        pair_ids = [pair_row.id for pair_row in pair_page.rows]
        if not pair_ids:
            return [gr.skip()] * 4
        open_index = pair_ids.index(seen_pair[0]) if seen_pair is not None and seen_pair[0] in pair_ids else -1
        if open_index + 1 == len(pair_ids):
            message = self._translate("这一页看完了，请翻到下一页。", "That was the last one of this page.")
            return [gr.skip(), gr.skip(), gr.skip(), note(message)]
        return self._show_pair(pair_ids[open_index + 1])


def no_runs_html(translate: Translator) -> Markup:
    """What stands where no run is chosen."""
    return empty_notice(translate("还没有批次。先在“新的一批”里做一批。", "No run yet. Make one under “New run”."))


def _read_filter(
    state_name: Any, decider_name: Any, generator_name: Any, search_text: Any, only_overturned: Any
) -> PairFilter:
    return PairFilter(
        state=PairState(state_name) if state_name in set(PairState) else None,
        decided_by=Decider(decider_name) if decider_name in set(Decider) else None,
        generator=str(generator_name or ""),
        search=str(search_text or "").strip()[:100],
        overturned=bool(only_overturned),
    )


def _page_html(translate: Translator, pair_page: PairPage, page_number: int, last_page: int) -> Markup:
    if not pair_page.rows:
        return empty_notice(translate("没有符合条件的偏好对。", "No pair matches."))
    count_text = translate(
        f"共 {pair_page.total:,} 对，第 {page_number + 1} / {last_page + 1} 页",
        f"{pair_page.total:,} pairs, page {page_number + 1} of {last_page + 1}",
    )
    pair_lines = [_pair_line(translate, pair_row) for pair_row in pair_page.rows]
    return render("preferences/templates/pairs.html", translate=translate, pair_lines=pair_lines, count_text=count_text)


def _pair_line(translate: Translator, pair_row: PairRow) -> dict[str, Any]:
    """What the template shows of one pair."""
    return {
        "row": pair_row,
        "length_gap": f"{count_characters(pair_row.chosen) - count_characters(pair_row.rejected):+d}",
        "state": state_pill(translate, pair_row.state),
        "decider": translate(*DECIDER_NAMES[pair_row.by]),
    }
