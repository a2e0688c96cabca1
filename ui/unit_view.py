"""One unit opened for the researcher: the texts, every rater's answer and its history."""

from backend.records import Disagreement
from backend.services import Services
from ui.say import Say
from ui.widgets import esc, table


def unit_detail(services: Services, say: Say, entry: Disagreement) -> str:
    """HTML of a unit: prompt, greetings, and who said what of it."""
    texts = f'<div class="zf-card"><p>{esc(entry.a)}</p></div>'
    if entry.b is not None:
        texts += f'<div class="zf-card"><p>{esc(entry.b)}</p></div>'
    verdicts = [
        [esc(said.rater), esc(said.kind), _value(say, said.value), esc(said.reason)]
        for said in services.board.said_of(entry.greeting_id)
    ]
    head = [
        say("评判者", "Rater"),
        say("类别", "Kind"),
        say("对 A 的评判", "Verdict on A"),
        say("理由", "Reason"),
    ]
    return (
        f"<h3>{esc(entry.prompt)}</h3>"
        f'<div class="zf-cards">{texts}</div>'
        f"{table(head, verdicts, ('zf-text', '', '', 'zf-text'))}"
    )


def _value(say: Say, value: float | None) -> str:
    return esc(say("未评", "unscored")) if value is None else f"{value:.2f}"
