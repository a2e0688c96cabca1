"""The pairs of a run: filters, a table, and one pair as the conversations behind it."""

from collections.abc import Callable
from typing import Any

import gradio as gr
from markupsafe import Markup

from backend.core.enums import Decider, PairState
from backend.core.errors import UserError
from backend.core.text import count_characters, parse_row_number
from backend.preferences.records import PairDetail, PairFilter, PairPage, PairRow
from backend.services import Services
from ui.components.form import BoxForm, EnteredValues
from ui.components.language import Translator
from ui.components.run_watcher import SILENT_EVENT
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


class PairTableTab:
    """The blocks of this tab. What is open is kept on the server with the state it was seen in."""

    def __init__(self, services: Services, translate: Translator, table_tab: gr.Tab, run_dropdown: gr.Dropdown) -> None:
        self._services, self._translate, self._run_dropdown = services, translate, run_dropdown
        # With the state of the pair as it was seen: a decision is checked against it.
        self._open_state: gr.State = gr.State(None)
        self._page_index: gr.State = gr.State(0)
        self._filter_boxes = self._build_filters()
        # One form for all handlers: what is looked at, where in it, and by which filters.
        self._table_form = BoxForm(
            run=run_dropdown, page=self._page_index, open_pair=self._open_state, **self._filter_boxes
        )
        self._card_block = html_block(elem_id="zf-pair-card")
        with gr.Column(visible=False) as self._decision_column:
            self._decision_buttons, self._next_pair_button, decision_boxes = self._build_decision()
        self._decision_form = BoxForm(open_pair=self._open_state, **decision_boxes)
        self._message_block = html_block(elem_id="zf-pair-decided")
        self._table_block = html_block(elem_id="zf-pair-table", js_on_load=row_click_script("pair"))
        with gr.Row():
            previous_button = gr.Button(translate("上一页", "Previous"), min_width=100)
            next_button = gr.Button(translate("下一页", "Next"), min_width=100)
        self._wire_events(table_tab, previous_button, next_button)

    def _build_filters(self) -> dict[str, Any]:
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
        return {
            "state": state_dropdown,
            "decider": decider_dropdown,
            "generator": generator_dropdown,
            "search": search_box,
            "overturned": overturned_checkbox,
        }

    def _build_decision(self) -> tuple[dict[str, gr.Button], gr.Button, dict[str, Any]]:
        """A button for each decision, the one for the next pair, and who decides and why."""
        translate = self._translate
        with gr.Row(elem_classes="zf-acts"):
            decision_buttons = {
                action: gr.Button(
                    translate(*bilingual_label),
                    variant={"accept": "primary", "discard": "stop"}.get(action, "secondary"),  # type: ignore[arg-type]
                    elem_id=f"zf-pair-{action}",
                )
                for action, bilingual_label in DECISION_LABELS.items()
            }
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
        return decision_buttons, next_pair_button, {"name": name_box, "reason": reason_box}

    def _wire_events(self, table_tab: gr.Tab, previous_button: gr.Button, next_button: gr.Button) -> None:
        run_dropdown, card_outputs = self._run_dropdown, self._card_outputs()
        filter_events = [filter_box.change for filter_box in self._filter_boxes.values()]
        self._wire_page([table_tab.select], 0)
        # To the first page: what was page 7 of all pairs is none of those that are left.
        self._wire_page([*filter_events, run_dropdown.change], None)
        self._wire_page([previous_button.click], -1)
        self._wire_page([next_button.click], 1)
        run_dropdown.change(
            friendly_errors(self._translate)(self._reset_for_run),
            run_dropdown,
            [self._filter_boxes["generator"], *card_outputs],
            **SILENT_EVENT,
        )
        open_clicked = friendly_errors(self._translate)(self._open_clicked)
        open_event = self._table_block.click(open_clicked, None, card_outputs, **ROW_CLICK)
        open_event.then(None, js=SCROLL_SCRIPT)
        self._wire_decisions()
        open_next = friendly_errors(self._translate)(self._table_form.named(self._open_next))
        next_event = self._next_pair_button.click(open_next, self._table_form.inputs, card_outputs, **SILENT_EVENT)
        next_event.then(None, js=SCROLL_SCRIPT)

    def _wire_page(self, page_events: list[Any], page_step: int | None) -> None:
        """Show the page so many steps from the one that is open; None: the first."""
        outputs = [self._table_block, self._page_index]
        gr.on(page_events, self._page_handler(page_step), self._table_form.inputs, outputs, **SILENT_EVENT)

    def _wire_decisions(self) -> None:
        outputs = [*self._card_outputs(), self._decision_form["reason"]]
        for action, button in self._decision_buttons.items():
            decision_handler = self._decision_handler(action)
            decision_event = button.click(decision_handler, self._decision_form.inputs, outputs, **SILENT_EVENT)
            decision_event.then(
                self._page_handler(0), self._table_form.inputs, [self._table_block, self._page_index], **SILENT_EVENT
            )

    def _card_outputs(self) -> list[Any]:
        return [self._open_state, self._card_block, self._decision_column, self._message_block]

    def _page_handler(self, page_step: int | None) -> Callable[..., list[Any]]:
        @friendly_errors(self._translate)
        @self._table_form.named
        def show_page(entered: EnteredValues) -> list[Any]:
            return self._show_page(entered, 0 if page_step is None else int(entered["page"] or 0) + page_step)

        return show_page

    def _show_page(self, entered: EnteredValues, page_index: int) -> list[Any]:
        if not entered["run"]:
            return [no_runs_html(self._translate), 0]
        page_number = max(0, page_index)
        pair_page = self._services.pairs.pair_page(
            int(entered["run"]), _read_filter(entered), page_number * PAGE_SIZE, PAGE_SIZE
        )
        last_page = max(0, (pair_page.total - 1) // PAGE_SIZE)
        if page_number > last_page:
            return self._show_page(entered, last_page)
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

    def _decision_handler(self, action: str) -> Callable[..., list[Any]]:
        translate = self._translate

        @friendly_errors(translate)
        @self._decision_form.named
        def apply_decision(entered: EnteredValues) -> list[Any]:
            if entered["open_pair"] is None:
                skipped_blocks = [gr.skip(), gr.skip(), gr.skip()]
                return [*skipped_blocks, note(translate("请先点开一对。", "Open a pair first.")), gr.skip()]
            # The state that was on the page goes along: what somebody else has decided since is not overruled unseen.
            pair_id, seen_state = entered["open_pair"]
            person_name, reason = entered["name"] or "", entered["reason"] or ""
            try:
                pair_detail = self._services.pairs.decide(pair_id, action, person_name, reason, PairState(seen_state))
            except UserError as error:
                return [*self._show_pair(pair_id)[:3], note(translate.localize(error), "bad"), gr.skip()]
            done_text = translate(*DECISION_MESSAGES[pair_detail.state]).format(pair_id)
            return [*self._pair_card(pair_detail), note(done_text, "ok"), ""]

        return apply_decision

    def _open_next(self, entered: EnteredValues) -> list[Any]:
        """The pair after the open one on this page of the table, or the first of the page."""
        if not entered["run"]:
            return [gr.skip()] * 4
        page_start = int(entered["page"] or 0) * PAGE_SIZE
        pair_page = self._services.pairs.pair_page(int(entered["run"]), _read_filter(entered), page_start, PAGE_SIZE)
        pair_ids = [pair_row.id for pair_row in pair_page.rows]
        if not pair_ids:
            return [gr.skip()] * 4
        open_id = entered["open_pair"][0] if entered["open_pair"] is not None else None
        open_index = pair_ids.index(open_id) if open_id in pair_ids else -1
        if open_index + 1 == len(pair_ids):
            message = self._translate("这一页看完了，请翻到下一页。", "That was the last one of this page.")
            return [gr.skip(), gr.skip(), gr.skip(), note(message)]
        return self._show_pair(pair_ids[open_index + 1])


def no_runs_html(translate: Translator) -> Markup:
    """What stands where no run is chosen."""
    return empty_notice(translate("还没有批次。先在“新的一批”里做一批。", "No run yet. Make one under “New run”."))


def _read_filter(entered: EnteredValues) -> PairFilter:
    return PairFilter(
        # Both words come from the browser; anything else filters nothing.
        state=PairState(entered["state"]) if entered["state"] in set(PairState) else None,
        decided_by=Decider(entered["decider"]) if entered["decider"] in set(Decider) else None,
        generator=str(entered["generator"] or ""),
        # The box is limited too, but only in the browser.
        search=str(entered["search"] or "").strip()[:100],
        overturned=bool(entered["overturned"]),
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
