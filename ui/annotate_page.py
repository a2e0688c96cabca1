"""The annotation page: an empty root; `assets/annotate.js` does the rest against the annotation routes."""

from backend.services import Services
from backend.vocabulary import RUBRIC_WEIGHTS, Flaw
from ui.say import DIMENSIONS, FLAWS, Say
from ui.widgets import data_island, html_block


def build(services: Services, say: Say) -> None:  # noqa: ARG001
    """Name → campaign → items, by keyboard or touch."""
    words = {
        "flaws": [[flaw.value, say(*FLAWS[flaw])] for flaw in Flaw],
        "dimensions": [[name, say(*DIMENSIONS[name]), weight] for name, weight in RUBRIC_WEIGHTS.items()],
    }
    html_block(
        f'<div id="zf-annotate" data-lang="{say.lang}" data-words="{data_island(words)}">'
        f"<p class='zf-note'>{say('正在打开……', 'Opening …')}</p></div>",
        elem_id="zf-annotate-page",
    )
