"""The pairs of a run: filters, a table, and the card on which one is accepted, flipped or discarded."""

from typing import Any

import gradio as gr

from backend.errors import UserError
from backend.pairs.records import PairDetail, PairFilter, PairPage, PairRow
from backend.pairs.vocabulary import Decider, PairState
from backend.services import Services
from backend.text import length, number_of
from ui.pairs_debate import debate_html
from ui.pairs_words import DECIDERS, STATES, state_pill
from ui.say import Say
from ui.widgets import ROW, empty, esc, html_block, note, opener, polite, table

PAGE = 20
QUIET: dict[str, Any] = {"queue": False, "show_progress": "hidden"}
IN_VIEW = (
    "() => document.getElementById('zf-pair-card')?.scrollIntoView({ behavior: 'smooth', block: 'start' })"
)
ACTS = {
    "accept": ("认可", "Accept"),
    "flip": ("对调：落选的更好", "Flip: the other is better"),
    "discard": ("丢弃这一对", "Discard"),
}
DONE = {
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
Seen = tuple[int, str] | None


class Pairs:
    """The blocks of this tab. What is open is kept on the server with the state it was seen in."""

    def __init__(self, services: Services, say: Say, tab: gr.Tab, which: gr.Dropdown) -> None:
        self._services, self._say, self._which = services, say, which
        self._filters = self._boxes()
        self._open: gr.State = gr.State(None)
        self._at: gr.State = gr.State(0)
        self._card = html_block(elem_id="zf-pair-card")
        with gr.Column(visible=False) as self._acts:
            self._decision = self._deciding()
        self._told = html_block(elem_id="zf-pair-decided")
        self._rows = html_block(elem_id="zf-pair-table", js_on_load=opener("pair"))
        with gr.Row():
            back = gr.Button(say("上一页", "Previous"), min_width=100)
            forth = gr.Button(say("下一页", "Next"), min_width=100)
        self._wire(tab, back, forth)

    def _boxes(self) -> list[Any]:
        say = self._say
        every = (say("全部", "All"), "")
        with gr.Row():
            state = gr.Dropdown(
                label=say("状态", "State"),
                choices=[every, *((say(*words), each.value) for each, words in STATES.items())],
                value="",
                elem_id="zf-pair-state",
            )
            by = gr.Dropdown(
                label=say("谁定的", "Decided by"),
                choices=[every, *((say(*words), each.value) for each, words in DECIDERS.items())],
                value="",
            )
            generator = gr.Dropdown(label=say("谁写的", "Written by"), choices=[every], value="")
            search = gr.Textbox(label=say("包含文字", "Contains"), elem_id="zf-pair-search", max_length=100)
            turned = gr.Checkbox(label=say("只看复核推翻过的", "Only where the review overturned"))
        return [state, by, generator, search, turned]

    def _deciding(self) -> list[Any]:
        say = self._say
        with gr.Row(elem_classes="zf-acts"):
            buttons = [
                gr.Button(
                    say(*words),
                    variant={"accept": "primary", "discard": "stop"}.get(action, "secondary"),  # type: ignore[arg-type]
                    elem_id=f"zf-pair-{action}",
                )
                for action, words in ACTS.items()
            ]
            following = gr.Button(say("下一对", "Next pair"), elem_id="zf-pair-next")
        with gr.Row():
            name = gr.Textbox(
                label=say("你的名字（记在这一对上）", "Your name (kept with the pair)"),
                max_length=40,
                elem_id="zf-pair-name",
            )
            why = gr.Textbox(
                label=say("为什么（可不填）", "Why (may stay empty)"), max_length=500, elem_id="zf-pair-note"
            )
        return [*buttons, following, name, why]

    def _wire(self, tab: gr.Tab, back: gr.Button, forth: gr.Button) -> None:
        say, which, filters = self._say, self._which, self._filters
        show, shown = polite(say)(self._show), [self._rows, self._at]
        asked = [which, self._at, *filters]
        tab.select(show, asked, shown, **QUIET)
        gr.on(
            [box.change for box in filters],
            lambda run, _, *chosen: show(run, 0, *chosen),
            asked,
            shown,
            **QUIET,
        )
        back.click(lambda run, at, *chosen: show(run, at - 1, *chosen), asked, shown, **QUIET)
        forth.click(lambda run, at, *chosen: show(run, at + 1, *chosen), asked, shown, **QUIET)
        which.change(
            polite(say)(self._fresh),
            which,
            [filters[2], self._open, self._card, self._acts, self._told],
            **QUIET,
        )
        which.change(lambda run, _, *chosen: show(run, 0, *chosen), asked, shown, **QUIET)
        card = [self._open, self._card, self._acts, self._told]
        opened = self._rows.click(polite(say)(self._press), None, card, **ROW)
        opened.then(None, js=IN_VIEW)
        *buttons, following, name, why = self._decision
        for button, action in zip(buttons, ACTS, strict=True):
            decided = button.click(self._acting(action), [self._open, name, why], [*card, why], **QUIET)
            decided.then(show, asked, shown, **QUIET)
        after = following.click(polite(say)(self._next), [self._open, *asked], card, **QUIET)
        after.then(None, js=IN_VIEW)

    def _show(self, run_id: Any, at: Any, *chosen: Any) -> list[Any]:
        if not run_id:
            none = say_none(self._say)
            return [none, 0]
        wish, number = _filter(*chosen), max(0, int(at or 0))
        page = self._services.pairs.page(int(run_id), wish, number * PAGE, PAGE)
        last = max(0, (page.total - 1) // PAGE)
        if number > last:
            return self._show(run_id, last, *chosen)
        return [_rows(self._say, page, number, last), number]

    def _fresh(self, run_id: Any) -> list[Any]:
        """Another run was chosen: its generators to filter by, and no pair open."""
        say = self._say
        names = list(self._services.pairs.one(int(run_id)).request.plan.generators) if run_id else []
        boxes = gr.update(choices=[(say("全部", "All"), ""), *((name, name) for name in names)], value="")
        return [boxes, None, "", gr.update(visible=False), ""]

    def _press(self, event: gr.EventData) -> list[Any]:
        pair = number_of(getattr(event, "pair", None))
        return [gr.skip()] * 4 if pair is None else self._opened(pair)

    def _opened(self, pair_id: int) -> list[Any]:
        try:
            pair = self._services.pairs.pair(pair_id)
        except UserError as error:
            return [None, "", gr.update(visible=False), note(self._say.of(error), "bad")]
        return [*self._card_of(pair), ""]

    def _card_of(self, pair: PairDetail) -> list[Any]:
        seen = (pair.id, pair.state.value)
        return [seen, debate_html(self._say, pair), gr.update(visible=True)]

    def _acting(self, action: str) -> Any:
        @polite(self._say)
        def act(seen: Seen, name: str, why: str) -> list[Any]:
            say = self._say
            if seen is None:
                return [
                    gr.skip(),
                    gr.skip(),
                    gr.skip(),
                    note(say("请先点开一对。", "Open a pair first.")),
                    gr.skip(),
                ]
            number, state = seen
            try:
                pair = self._services.pairs.decide(number, action, name or "", why or "", PairState(state))
            except UserError as error:
                return [*self._opened(number)[:3], note(say.of(error), "bad"), gr.skip()]
            return [*self._card_of(pair), note(say(*DONE[pair.state]).format(number), "ok"), ""]

        return act

    def _next(self, seen: Seen, run_id: Any, at: Any, *chosen: Any) -> list[Any]:
        """The pair after the open one on this page of the table, or the first of the page."""
        page = self._services.pairs.page(int(run_id or 0), _filter(*chosen), int(at or 0) * PAGE, PAGE)
        ids = [row.id for row in page.rows]
        if not ids:
            return [gr.skip()] * 4
        here = ids.index(seen[0]) if seen is not None and seen[0] in ids else -1
        if here + 1 == len(ids):
            told = self._say("这一页看完了，请翻到下一页。", "That was the last one of this page.")
            return [gr.skip(), gr.skip(), gr.skip(), note(told)]
        return self._opened(ids[here + 1])


def say_none(say: Say) -> str:
    """What stands where no run is chosen."""
    return empty(say("还没有批次。先在“新的一批”里做一批。", "No run yet. Make one under “New run”."))


def _filter(state: Any, by: Any, generator: Any, search: Any, turned: Any) -> PairFilter:
    return PairFilter(
        state=PairState(state) if state in set(PairState) else None,
        by=Decider(by) if by in set(Decider) else None,
        generator=str(generator or ""),
        search=str(search or "").strip()[:100],
        overturned=bool(turned),
    )


def _rows(say: Say, page: PairPage, number: int, last: int) -> str:
    if not page.rows:
        return empty(say("没有符合条件的偏好对。", "No pair matches."))
    head = [
        say("编号", "No."),
        say("请求", "Request"),
        say("入选", "Chosen"),
        say("落选", "Rejected"),
        say("字数差", "Length"),
        say("状态", "State"),
    ]
    count = say(
        f"共 {page.total:,} 对，第 {number + 1} / {last + 1} 页",
        f"{page.total:,} pairs, page {number + 1} of {last + 1}",
    )
    body = table(
        head, [_row(say, row) for row in page.rows], ("", "zf-text", "zf-text", "zf-text", "", "zf-left")
    )
    return f'{body}<p class="zf-note">{esc(count)}</p>'


def _row(say: Say, row: PairRow) -> list[str]:
    gap = length(row.chosen) - length(row.rejected)
    turned = say("复核推翻过", "overturned in review")
    by = f"<small>{esc(say(*DECIDERS[row.by]))}{f' · {esc(turned)}' if row.overturned else ''}</small>"
    return [
        f'<a class="zf-a" data-pair="{row.id}" href="#zf-pair-card">{row.id}</a>',
        f'<a class="zf-a" data-pair="{row.id}" href="#zf-pair-card">{esc(row.prompt)}</a>',
        esc(row.chosen),
        esc(row.rejected),
        f"{gap:+d}",
        state_pill(say, row.state) + by,
    ]
