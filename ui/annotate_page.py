"""The annotation page: an empty root; `assets/annotate.js` does the rest against the annotation routes."""

from backend.services import Services
from backend.vocabulary import RUBRIC_WEIGHTS, Flaw
from ui.say import DIMENSION_NAMES, FLAW_NAMES, Translator
from ui.widgets import data_island, html_block


def build_annotate_page(services: Services, translate: Translator) -> None:  # noqa: ARG001
    """Name → campaign → items, by keyboard or touch."""
    page_words = {
        "flaws": [[flaw.value, translate(*FLAW_NAMES[flaw])] for flaw in Flaw],
        "dimensions": [
            [dimension, translate(*DIMENSION_NAMES[dimension]), weight] for dimension, weight in RUBRIC_WEIGHTS.items()
        ],
    }
    html_block(
        f'<div id="zf-annotate" data-lang="{translate.lang}" data-words="{data_island(page_words)}">'
        f"<p class='zf-note'>{translate('正在打开……', 'Opening …')}</p></div>",
        elem_id="zf-annotate-page",
    )
