"""Small pieces that every page uses: notes, figures, tables, and handlers that fail politely."""

import functools
import json
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import gradio as gr
from gradio.blocks import Block
from gradio.context import Context
from markupsafe import Markup

from backend.agreement.statistics.figures import Figure
from backend.core.errors import Unavailable, UserError
from backend.core.files import translate_disk_fault
from ui.components.language import Translator
from ui.components.templates import render_part

log = logging.getLogger(__name__)

# Slow, since every tab polls: a browser has six connections to a host, of which each open page holds one.
IDLE_SECONDS = 10.0


def html_block(inner_html: str = "", **options: Any) -> gr.HTML:
    """A piece of our own HTML, free of Gradio's prose styles and paddings."""
    return gr.HTML(inner_html, padding=False, apply_default_css=False, **options)


# For a press on a row: of two quick ones the second counts, which Gradio drops by default.
ROW_CLICK: dict[str, Any] = {"queue": False, "show_progress": "hidden", "trigger_mode": "always_last"}


def fill_on_load(handler: Callable[[], Any], *blocks: gr.components.Component) -> None:
    """Fill blocks when the page opens, without a progress overlay."""
    # No overlay: it would grey out the whole page for as long as the slowest block takes.
    gr.on(None, handler, None, list(blocks), queue=False, show_progress="hidden")


def fill_tab(
    gradio_tab: gr.Tab,
    handler: Callable[..., Any],
    outputs: Sequence[Block],
    inputs: Block | Sequence[Block] | set[Block] | None = None,
) -> None:
    """Fill blocks when the page opens and whenever the tab is shown.

    One event for both, one request at a time: opening a page shows its first tab too, and of two answers
    the later one would take back what a person has chosen after the earlier. A handler gives a value only
    to a box that is empty (`default_choice`).
    """
    # Gradio's page under construction; `load` exists on it alone, and a tab does not know it.
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
    # No value at all rather than the same one: an answer that comes late would take back what was chosen
    # meanwhile.
    return {} if chosen_value in valid_values else {"value": next(iter(valid_values), None)}


def timer_update(is_busy: bool, busy_seconds: float) -> Any:
    """How often a timer ticks: every `busy_seconds` while something runs, else now and then.

    Never not at all: a command or another browser may start something while the page is open.
    """
    return gr.update(active=True, value=busy_seconds if is_busy else IDLE_SECONDS)


def script_root(element_id: str, translate: Translator, page_words: Any) -> Markup:
    """The empty root of a page that a script of `shell/assets` fills; `page_words` are what it reads as JSON."""
    # Handed over as text in an attribute and escaped there: a script element would end at a `</script>` in
    # the words.
    words_json = json.dumps(page_words, ensure_ascii=False)
    return render_part("script_root", element_id, translate.lang, words_json, translate("正在打开……", "Opening …"))


def page_title(heading: str, lead_text: str) -> Markup:
    """A page's heading and the sentence under it."""
    return render_part("page_title", heading, lead_text)


def note(note_text: str, note_kind: str = "warn") -> Markup:
    """A coloured remark; kind is "warn", "bad" or "ok"."""
    return render_part("note", note_text, note_kind)


def link_html(address: str, link_text: str) -> Markup:
    """A link to another page of the application."""
    return render_part("link", address, link_text)


def caption_html(caption_text: str) -> Markup:
    """A grey line under a heading or a table."""
    return render_part("caption", caption_text)


def pill_html(pill_kind: str, state_sign: str, state_word: str) -> Markup:
    """A state as sign, word and colour; kind is "good", "bad", "run", "wait", "off" or empty."""
    return render_part("pill", pill_kind, state_sign, state_word)


def empty_notice(notice_text: str) -> Markup:
    """What stands where there is nothing yet, with what to do."""
    return render_part("empty", notice_text)


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
) -> Markup:
    """An HTML table.

    header_cells, body_rows: text, which is escaped, or `Markup`, which stands as it is; rows are as long as the header.
    column_classes: a class per column from the first on ("zf-text" for prose).
    """
    table_rows = [list(row_cells) for row_cells in body_rows]
    for row_cells in table_rows:
        # A browser would draw it all the same, with every figure under its neighbour's heading.
        if len(row_cells) != len(header_cells):
            raise ValueError(f"A row of {len(row_cells)} cells under {len(header_cells)} headings.")
    return render_part("table", header_cells, table_rows, column_classes)


def figure_html(translate: Translator, measured: Figure, digits: int = 2) -> Markup:
    """A figure with its interval below; an undefined one is “–” with the reason on hover and below."""
    if measured.value is None:
        return render_part("missing_figure", translate.localize(measured.why) if measured.why else "")
    # Either bound alone would look like an interval that is known.
    has_interval = measured.low is not None and measured.high is not None
    interval_text = f"{measured.low:.{digits}f} – {measured.high:.{digits}f}" if has_interval else ""
    return render_part("figure", f"{measured.value:.{digits}f}", interval_text)


def _reject_blocks(handler_result: Any) -> Any:
    """A block made in a handler would be hung into whatever page another thread is building just then."""
    # An answer by block has blocks as keys, rightly.
    result_parts = handler_result.values() if isinstance(handler_result, dict) else handler_result
    result_parts = result_parts if isinstance(handler_result, (list, tuple, dict)) else [handler_result]
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
            # Raised by a handler that has worded its own sentence.
            except gr.Error:
                raise
            except Exception as error:
                # Gradio would show the exception's own text, which may hold paths or prompts; here it goes
                # into the log alone.
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
