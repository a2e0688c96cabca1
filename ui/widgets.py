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

from backend.agreement.figures import Figure
from backend.errors import Unavailable, UserError
from backend.files import disk_fault
from ui.say import Say

log = logging.getLogger(__name__)

IDLE_S = 10.0


def html_block(value: str = "", **options: Any) -> gr.HTML:
    """A piece of our own HTML, free of Gradio's prose styles and paddings."""
    return gr.HTML(value, padding=False, apply_default_css=False, **options)


ROW: dict[str, Any] = {"queue": False, "show_progress": "hidden", "trigger_mode": "always_last"}
"""For a press on a row: of two quick ones the second counts, which Gradio drops by default."""


def fill(handler: Callable[[], Any], *blocks: gr.components.Component) -> None:
    """Fill blocks when the page opens, without a progress overlay."""
    gr.on(None, handler, None, list(blocks), queue=False, show_progress="hidden")


def fill_tab(
    tab: gr.Tab,
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
        [Context.root_block.load, tab.select],
        handler,
        inputs,
        list(outputs),
        queue=False,
        show_progress="hidden",
        trigger_mode="once",
    )


def unless_chosen(chosen: Any, values: Sequence[Any]) -> dict[str, Any]:
    """For `gr.update` of a choice: the first value where nothing is chosen, or where what was is gone."""
    return {} if chosen in values else {"value": next(iter(values), None)}


def pace(busy: bool, quick: float) -> Any:
    """How often a timer ticks: every `quick` seconds while something runs, else now and then.

    Never not at all: a command or another browser may start something while the page is open.
    """
    return gr.update(active=True, value=quick if busy else IDLE_S)


def esc(value: object) -> str:
    """Text made safe inside HTML."""
    return html.escape(str(value), quote=True)


def data_island(value: Any) -> str:
    """JSON for an HTML attribute that a script reads."""
    return esc(json.dumps(value, ensure_ascii=False))


def title(heading: str, lead: str) -> str:
    """A page's heading and the sentence under it."""
    return f'<div class="zf-title"><h1>{esc(heading)}</h1><p>{esc(lead)}</p></div>'


def note(text: str, kind: str = "warn") -> str:
    """A coloured remark; kind is "warn", "bad" or "ok"."""
    return f'<div class="zf-{kind}" role="status">{esc(text)}</div>'


def pill(kind: str, sign: str, word: str) -> str:
    """A state as sign, word and colour; kind is "good", "bad", "run", "wait", "off" or empty."""
    colour = f" zf-pill-{kind}" if kind else ""
    return f'<span class="zf-pill{colour}"><i aria-hidden="true">{sign}</i>{esc(word)}</span>'


def empty(text: str) -> str:
    """What stands where there is nothing yet, with what to do."""
    return f'<div class="zf-empty">{esc(text)}</div>'


def sure(question: str) -> str:
    """JavaScript that asks before an event with one input, which becomes null where the answer is no."""
    return f"(given) => !given || confirm({json.dumps(question, ensure_ascii=False)}) ? given : null"


# A link that also works in a new tab; a plain press is answered in place. Not at the click: a poll that
# replaces the list between press and release would take the click with it.
_OPENER = """
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


def opener(name: str) -> str:
    """Script of an HTML block whose links carry `data-NAME`: a press tells the page that value."""
    return _OPENER.replace("NAME", name)


def table(head: Sequence[str], rows: Iterable[Sequence[str]], classes: Sequence[str] = ()) -> str:
    """An HTML table; cells are ready HTML. `classes` gives a class per column ("zf-text" for prose)."""
    mark = [f' class="{name}"' if name else "" for name in classes] + [""] * (len(head) - len(classes))
    top = "".join(f"<th{kind}>{cell}</th>" for cell, kind in zip(head, mark, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{kind}>{cell}</td>" for cell, kind in zip(row, mark, strict=True)) + "</tr>"
        for row in rows
    )
    inside = f"<thead><tr>{top}</tr></thead><tbody>{body}</tbody>"
    return f'<div class="zf-scroll"><table class="zf-table">{inside}</table></div>'


def figure(say: Say, value: Figure, digits: int = 2) -> str:
    """A figure with its interval below; an undefined one is “–” with the reason on hover and below."""
    if value.value is None:
        why = say.of(value.why) if value.why else ""
        return f'<span title="{esc(why)}">–</span><small class="zf-why">{esc(why)}</small>'
    shown = f"{value.value:.{digits}f}"
    if value.low is None or value.high is None:
        return shown
    return f"{shown}<small>{value.low:.{digits}f} – {value.high:.{digits}f}</small>"


def _without_blocks(answer: Any) -> Any:
    """A block made in a handler would be hung into whatever page another thread is building just then."""
    parts = answer if isinstance(answer, (list, tuple)) else [answer]
    if any(isinstance(part, Block) for part in parts):
        raise TypeError("A handler answers with gr.update(…), not with a component.")
    return answer


def polite(say: Say) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A handler whose foreseen errors become a sentence for people, and whose others are logged too.

    The sentence is a toast, which only events that go through the queue can show; a handler without the
    queue that expects bad input answers it with a `note` of its own.
    """

    def wrap(handler: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(handler)
        def safe(*args: Any, **kwargs: Any) -> Any:
            try:
                return _without_blocks(handler(*args, **kwargs))
            except UserError as error:
                if isinstance(error, Unavailable):
                    log.warning("%s: %s", handler.__name__, error)
                raise gr.Error(
                    say.of(error), print_exception=False, title=say("请看一下", "Please check")
                ) from error
            except gr.Error:
                raise
            except Exception as error:
                log.exception("%s failed", handler.__name__)
                told = say(
                    "程序内部出错了，已写入日志，没有保存任何内容。请重试；若再次出现，请把日志交给维护者。",
                    "Something broke inside; it was logged and nothing was saved. Please try again.",
                )
                fault = disk_fault(error) if isinstance(error, OSError) else None
                told = say.of(fault) if fault else told
                raise gr.Error(told, print_exception=False, title=say("出错了", "Error")) from error

        return safe

    return wrap
