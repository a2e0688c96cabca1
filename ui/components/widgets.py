"""Small pieces that every page uses: escaped HTML, figures, tables, and handlers that fail politely."""

import functools
import html
import json
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import gradio as gr
from gradio.blocks import Block
from gradio.context import Context

from backend.agreement.statistics.figures import Figure
from backend.core.errors import Unavailable, UserError
from backend.core.files import translate_disk_fault
from ui.components.language import Translator

log = logging.getLogger(__name__)

IDLE_SECONDS = 10.0


def html_block(inner_html: str = "", **options: Any) -> gr.HTML:
    """A piece of our own HTML, free of Gradio's prose styles and paddings."""
    return gr.HTML(inner_html, padding=False, apply_default_css=False, **options)


ROW_CLICK: dict[str, Any] = {"queue": False, "show_progress": "hidden", "trigger_mode": "always_last"}
"""For a press on a row: of two quick ones the second counts, which Gradio drops by default."""


def fill_on_load(handler: Callable[[], Any], *blocks: gr.components.Component) -> None:
    """Fill blocks when the page opens, without a progress overlay."""
    gr.on(None, handler, None, list(blocks), queue=False, show_progress="hidden")


def fill_tab(
    gradio_tab: gr.Tab,
    handler: Callable[..., Any],
    outputs: Sequence[Block],
    inputs: Block | Sequence[Block] | None = None,
) -> None:
    """Fill blocks when the page opens and whenever the tab is shown.

    One event for both, one request at a time: opening a page shows its first tab too, and of two answers
    the later one would take back what a person has chosen after the earlier. A handler gives a value only
    to a box that is empty (`unless_chosen`).
    """
    if Context.root_block is None:
        raise RuntimeError("A tab is filled by the page it stands on.")
    gr.on(
        [Context.root_block.load, gradio_tab.select],
        handler,
        inputs,
        list(outputs),
        queue=False,
        show_progress="hidden",
        trigger_mode="once",
    )


def default_choice(chosen_value: Any, valid_values: Sequence[Any]) -> dict[str, Any]:
    """For `gr.update` of a choice: the first value where nothing is chosen, or where what was is gone."""
    return {} if chosen_value in valid_values else {"value": next(iter(valid_values), None)}


def timer_update(is_busy: bool, busy_seconds: float) -> Any:
    """How often a timer ticks: every `quick` seconds while something runs, else now and then.

    Never not at all: a command or another browser may start something while the page is open.
    """
    return gr.update(active=True, value=busy_seconds if is_busy else IDLE_SECONDS)


def esc(unsafe_text: object) -> str:
    """Text made safe inside HTML."""
    return html.escape(str(unsafe_text), quote=True)


def data_island(json_data: Any) -> str:
    """JSON for an HTML attribute that a script reads."""
    return esc(json.dumps(json_data, ensure_ascii=False))


def page_title(heading: str, lead_text: str) -> str:
    """A page's heading and the sentence under it."""
    return f'<div class="zf-title"><h1>{esc(heading)}</h1><p>{esc(lead_text)}</p></div>'


def note(note_text: str, note_kind: str = "warn") -> str:
    """A coloured remark; kind is "warn", "bad" or "ok"."""
    return f'<div class="zf-{note_kind}" role="status">{esc(note_text)}</div>'


def pill_html(pill_kind: str, state_sign: str, state_word: str) -> str:
    """A state as sign, word and colour; kind is "good", "bad", "run", "wait", "off" or empty."""
    colour_class = f" zf-pill-{pill_kind}" if pill_kind else ""
    return f'<span class="zf-pill{colour_class}"><i aria-hidden="true">{state_sign}</i>{esc(state_word)}</span>'


def empty_notice(notice_text: str) -> str:
    """What stands where there is nothing yet, with what to do."""
    return f'<div class="zf-empty">{esc(notice_text)}</div>'


def confirm_script(question: str) -> str:
    """JavaScript that asks before an event with one input, which becomes null where the answer is no."""
    return f"(given) => !given || confirm({json.dumps(question, ensure_ascii=False)}) ? given : null"


# A link that also works in a new tab; a plain press is answered in place. Not at the click: a poll that
# replaces the list between press and release would take the click with it.
_ROW_CLICK_SCRIPT = """
let pressed = null;
const found = (event) => event.target.closest('[data-NAME]')?.dataset.NAME ?? null;
const plain = (event) => event.button === 0 && !(event.ctrlKey || event.metaKey || event.shiftKey);
element.addEventListener('pointerdown', (event) => { pressed = plain(event) ? found(event) : null; });
element.addEventListener('pointerup', (event) => {
  if (pressed !== null && pressed === found(event)) trigger('click', { NAME: pressed });
  pressed = null;
});
element.addEventListener('click', (event) => {
  if (found(event) === null || !plain(event)) return;
  event.preventDefault();
  if (event.detail === 0) trigger('click', { NAME: found(event) });
});
"""


def row_click_script(data_name: str) -> str:
    """Script of an HTML block whose links carry `data-NAME`: a press tells the page that value."""
    return _ROW_CLICK_SCRIPT.replace("NAME", data_name)


def html_table(
    header_cells: Sequence[str], body_rows: Iterable[Sequence[str]], column_classes: Sequence[str] = ()
) -> str:
    """An HTML table; cells are ready HTML. `classes` gives a class per column ("zf-text" for prose)."""
    class_attributes = [f' class="{class_name}"' if class_name else "" for class_name in column_classes] + [""] * (
        len(header_cells) - len(column_classes)
    )
    header_html = "".join(
        f"<th{class_attribute}>{cell_html}</th>"
        for cell_html, class_attribute in zip(header_cells, class_attributes, strict=True)
    )
    body_html = "".join(
        "<tr>"
        + "".join(
            f"<td{class_attribute}>{cell_html}</td>"
            for cell_html, class_attribute in zip(row_cells, class_attributes, strict=True)
        )
        + "</tr>"
        for row_cells in body_rows
    )
    inner_html = f"<thead><tr>{header_html}</tr></thead><tbody>{body_html}</tbody>"
    return f'<div class="zf-scroll"><table class="zf-table">{inner_html}</table></div>'


def figure_html(translate: Translator, measured: Figure, digits: int = 2) -> str:
    """A figure with its interval below; an undefined one is “–” with the reason on hover and below."""
    if measured.value is None:
        reason = translate.localize(measured.why) if measured.why else ""
        return f'<span title="{esc(reason)}">–</span><small class="zf-why">{esc(reason)}</small>'
    figure_text = f"{measured.value:.{digits}f}"
    if measured.low is None or measured.high is None:
        return figure_text
    return f"{figure_text}<small>{measured.low:.{digits}f} – {measured.high:.{digits}f}</small>"


def _reject_blocks(handler_result: Any) -> Any:
    """A block made in a handler would be hung into whatever page another thread is building just then."""
    result_parts = handler_result if isinstance(handler_result, (list, tuple)) else [handler_result]
    if any(isinstance(result_part, Block) for result_part in result_parts):
        raise TypeError("A handler answers with gr.update(…), not with a component.")
    return handler_result


def friendly_errors(translate: Translator) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A handler whose foreseen errors become a sentence for people, and whose others are logged too.

    The sentence is a toast, which only events that go through the queue can show; a handler without the
    queue that expects bad input answers it with a `note` of its own.
    """

    def wrap_handler(handler: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(handler)
        def safe_handler(*args: Any, **kwargs: Any) -> Any:
            try:
                return _reject_blocks(handler(*args, **kwargs))
            except UserError as error:
                if isinstance(error, Unavailable):
                    log.warning("%s: %s", handler.__name__, error)
                raise gr.Error(
                    translate.localize(error),
                    print_exception=False,
                    title=translate("请看一下", "Please check"),
                ) from error
            except gr.Error:
                raise
            except Exception as error:
                log.exception("%s failed", handler.__name__)
                error_text = translate(
                    "程序内部出错了，已写入日志，没有保存任何内容。请重试；若再次出现，请把日志交给维护者。",
                    "Something broke inside; it was logged and nothing was saved. Please try again.",
                )
                disk_problem = translate_disk_fault(error) if isinstance(error, OSError) else None
                error_text = translate.localize(disk_problem) if disk_problem else error_text
                raise gr.Error(error_text, print_exception=False, title=translate("出错了", "Error")) from error

        return safe_handler

    return wrap_handler
