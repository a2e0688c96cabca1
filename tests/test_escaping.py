"""What people and models write never becomes HTML of a page: a greeting that is an attack, through every template."""

import ast
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from types import SimpleNamespace as Record
from typing import Any

import jinja2
import pytest
from markupsafe import Markup

from backend.agreement.statistics.figures import Figure
from backend.core.enums import CampaignKind, JobStatus, Scale
from backend.core.settings import PROJECT_ROOT
from backend.judges.base import JudgeKind
from backend.judges.scoring.records import SCORING_CONSTANT, Opinion
from backend.training.service import OfferState
from tests.attacked_runs import ATTACK, MESSAGE, RUN_VIEWS
from tests.attacked_trainings import TRAINING_VIEWS
from ui.agreement import page as agreement_page
from ui.agreement.views import models_table, worst_disagreements
from ui.annotation import campaigns
from ui.components import widgets
from ui.components.board import board_table
from ui.components.language import Language, Translator
from ui.components.templates import TEMPLATE_ROOT, render, render_part
from ui.corpus import datasets, imports
from ui.corpus import page as corpus_page
from ui.home import page as home_page
from ui.judges import comparison, editor, endpoints, runs
from ui.judges import page as judges_page
from ui.shell import entrance, guard
from ui.shell.app import LANGUAGES

MEASURED, UNKNOWN = Figure(0.5, low=0.1, high=0.9, n=40, why=MESSAGE), Figure(None, why=MESSAGE)
ROOMS = (
    "agreement",
    "annotation",
    "components",
    "corpus",
    "home",
    "judges",
    "playground",
    "preferences",
    "principles",
    "shell",
    "training",
)
FIXED = {
    "components/templates/parts.html",
    "home/templates/hero.html",
    "home/templates/roles.html",
    "principles/templates/fooling.html",
    "shell/templates/guide.html",
    "shell/templates/guide_button.html",
    "shell/templates/head.html",
    "shell/templates/header.html",
    "training/templates/starter_card.html",
}
"""What a template shows that holds our own words alone; `parts.html` is imported by nearly all of the others."""

View = Callable[[Translator], str]


def board() -> Record:
    """A board whose every text is the attack."""
    names = ("spearman", "kendall", "accuracy", "kappa", "auc", "matched_auc")
    counts = {"n": 12, "never_asked": 1, "without_verdict": 1, "unscored": 2, "ties": 0}
    row = Record(judge=ATTACK, key=ATTACK, version=ATTACK, newer=True, **counts, **dict.fromkeys(names, UNKNOWN))
    entry = {"prompt": ATTACK, "a": ATTACK, "human": 1.0, "judge": 0.0, "reason": ATTACK, "item_id": 1}
    model = Record(model=ATTACK, generator=ATTACK, by=ATTACK, figure=UNKNOWN, n=1, ties=0, never_asked=0, missing=1)
    verdicts = dict.fromkeys(("1", "tie", "0", "undecided", "without_verdict", "never_asked"), 1)
    return Record(
        reference=ATTACK,
        kind="compare",
        items=12,
        raters=2,
        rows=(row,),
        models=(model,),
        within=(Record(key=ATTACK, judge=ATTACK, figure=UNKNOWN, pairs=2, unscored=1),),
        alpha=Record(ordinal=MEASURED, items=12),
        confusions={ATTACK: {"1": verdicts}},
        worst={ATTACK: [Record(**entry, b=ATTACK, greeting_id=1)]},
    )


def services() -> Any:
    """Services that answer with the attack."""
    answer = {"rater": ATTACK, "kind": "review", "answer": ATTACK, "left": "A", "reasons": [], "note": ATTACK}
    state = {"prefers": None, "created_at": datetime.now(UTC), "superseded": False, "withdrawn": False}
    greeting = Record(source=ATTACK, text=ATTACK)
    campaign = {"id": 1, "name": ATTACK, "kind": CampaignKind.VALIDATE, "judge": ATTACK, "closed": False}
    counts = {"k": 1, "items": 1, "finished": 0, "labels": 0, "raters": 0}
    job = {"id": 1, "config": {"judge": {"name": ATTACK}}, "status": JobStatus.RUNNING, "progress": 0.5, "error": None}
    dataset = Record(name=ATTACK, kind=ATTACK, prompts=1, greetings=1, pairs=0, labels=0)
    endpoint = {"name": ATTACK, "model": ATTACK, "base_url": ATTACK, "read_only": True, "has_key": True}
    limits = {"price_in": 0.0, "price_out": 0.0, "concurrency": 1, "timeout_s": 1.0}
    report = SCORING_CONSTANT.fill(figures_en=ATTACK, figures_zh=ATTACK, notice_en=ATTACK, notice_zh=ATTACK)
    return Record(
        annotation=Record(
            history=lambda _: [Record(**answer, **state)],
            item=lambda _: Record(prompt=ATTACK, campaign=ATTACK, a=greeting, b=greeting),
            campaigns=lambda: [Record(**campaign, **counts)],
        ),
        board=Record(verdicts_on=lambda _: [Record(rater=ATTACK, value=None, reason=ATTACK)], board=lambda *_: board()),
        corpus=Record(datasets=lambda: [dataset]),
        endpoints=Record(endpoints=lambda: [Record(**endpoint, **limits)]),
        jobs=Record(jobs=lambda *_: [Record(**job, waiting=None, progress_message=report)]),
    )


def judge() -> Any:
    """A judge of whom every text is the attack."""
    counts = {"scored": 1, "unscored": 0, "cost": 0.0, "created_at": datetime.now(UTC)}
    texts = dict.fromkeys(("name", "version", "endpoint"), ATTACK)
    return Record(**texts, kind=JudgeKind.PRINCIPLE, newest=True, scale=Scale.BINARY, **counts)


def opinion() -> Opinion:
    """A debate in which everybody answers with the attack."""
    round_ = {"verdict": ATTACK, "explanation": ATTACK}
    details = {"dimensions": {"language": ATTACK}, "merits": [ATTACK], "faults": [ATTACK], "final": round_}
    return Opinion(1.0, ATTACK, details)


def prompts(translate: Translator) -> str:
    """A page of the corpus."""
    row = {"text": ATTACK, "occasion": ATTACK, "recipient": ATTACK, "style": ATTACK, "greeting_count": 2}
    found = Record(rows=[Record(**row, greetings=[Record(label=1.0, text=ATTACK)])], total=1)
    return corpus_page._prompt_table(translate, found, 0, 0)


def imported(translate: Translator) -> str:
    """What became of a file."""
    counts = {"read": 2, "added": 1, "duplicate": 0, "rejected": 1}
    report = Record(kind=ATTACK, dataset=ATTACK, **counts, errors=[Record(line=1, reason=MESSAGE)])
    return imports._import_summary(translate, report)


def beside(translate: Translator) -> str:
    """Two judges side by side."""
    row = Record(prompt=ATTACK, greeting=ATTACK, first=opinion(), second=Opinion(None, ATTACK, {}))
    return comparison._comparison_html(translate, [judge(), judge()], [row], ATTACK)


def pair_verdict(translate: Translator) -> str:
    """What a judge of pairs answers to a try."""
    return editor._verdict_html(translate, JudgeKind.PAIRWISE, Record(outcome=None, reasons=[ATTACK]))


def starter(translate: Translator) -> str:
    """The card of the starter while it trains."""
    job = Record(id=1, waiting=MESSAGE, kind="sft")
    return home_page._offer_html(translate, Record(state=OfferState.TRAINING, progress=0.5, job=job))


def refusal(_: Translator) -> str:
    """What a browser is shown that may not come in."""
    scope = {"type": "http", "method": "GET", "headers": [(b"accept", b"text/html")]}
    return bytes(guard.refusal_response(scope, 403, MESSAGE).body).decode()


VIEWS: dict[str, View] = {
    "home board": lambda translate: home_page._board_html(services(), translate),
    "home starter": starter,
    "home offer": lambda translate: home_page._offer_html(translate, Record(state=OfferState.OFFERED, failed=MESSAGE)),
    "board": lambda translate: board_table(translate, board()),
    "models": lambda translate: models_table(translate, board()),
    "disagreements": lambda translate: worst_disagreements(services(), translate, board(), ATTACK),
    "summary": lambda translate: agreement_page._summary_figures(translate, board()) + widgets.note(ATTACK),
    "campaigns": lambda translate: campaigns._campaign_table(services(), translate),
    "item": lambda translate: campaigns.item_html(services(), translate, 1),
    "data sets": lambda translate: datasets.dataset_table(services(), translate),
    "prompts": prompts,
    "imported": imported,
    "judges": lambda translate: judges_page._judge_table(translate, [judge()], board()),
    "side by side": beside,
    "sent prompts": lambda translate: render(
        "judges/templates/sent_prompts.html", translate=translate, sent_prompts=[ATTACK, ATTACK]
    ),
    "raw reply": lambda _: render_part("preformatted", ATTACK),
    "pair verdict": pair_verdict,
    "scoring runs": lambda translate: runs._runs_table(services(), translate),
    "endpoints": lambda translate: endpoints._endpoint_table(services(), translate),
    "page of a script": lambda translate: widgets.script_root("zf-play", translate, {"examples": [ATTACK]}),
    "sign in": lambda translate: entrance._login_page(
        translate.lang, f"/{ATTACK}", frozenset({"write"}), "/style.css", "/script.js", error=MESSAGE
    ),
    "refusal": refusal,
    **RUN_VIEWS,
    **TRAINING_VIEWS,
}


@pytest.fixture(scope="module")
def drawn() -> Iterator[set[str]]:
    """The templates that were drawn since the module began."""
    names: set[str] = set()
    original = jinja2.Environment.get_template

    def recorded(environment: jinja2.Environment, name: str, *rest: Any) -> jinja2.Template:
        names.add(name)
        return original(environment, name, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jinja2.Environment, "get_template", recorded)
        yield names


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("name", VIEWS)
def test_a_greeting_that_is_an_attack_stays_text(name: str, lang: Language, drawn: set[str]) -> None:
    shown = VIEWS[name](Translator(lang))
    assert "<img" not in shown, "it would run in the reader's browser"
    assert "&lt;img src=x onerror=alert(1)&gt;" in shown, "it is shown as it was written"
    assert "&amp;lt;" not in shown, "and escaped once"
    assert not re.search(r"""="[^"]*"'""", shown), "nor does its quotation mark end an attribute"


def test_every_template_was_attacked(drawn: set[str]) -> None:
    for view in VIEWS.values():
        view(Translator("en"))
    there = {
        str(path.relative_to(TEMPLATE_ROOT))
        for room in ROOMS
        for path in (TEMPLATE_ROOT / room / "templates").glob("*.html")
    }
    assert there - drawn <= FIXED and there >= FIXED


def test_a_table_takes_text_and_html_apart() -> None:
    shown = widgets.html_table(["<b>", "n"], [["<i>", Markup("<i>1</i>")]], ("zf-text",))
    assert '<th class="zf-text">&lt;b&gt;</th>' in shown and '<td class="zf-text">&lt;i&gt;</td>' in shown
    assert "<td><i>1</i></td>" in shown
    with pytest.raises(ValueError, match="A row of 1 cells"):
        widgets.html_table(["a", "b"], [["only one"]])


def test_these_rooms_write_no_html_into_strings() -> None:
    """A value put into HTML by hand is one that somebody forgets to escape."""
    found = []
    for path in (path for room in ROOMS for path in (PROJECT_ROOT / "ui" / room).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            parts = node.values if isinstance(node, ast.JoinedStr) else []
            texts = [part.value for part in parts if isinstance(part, ast.Constant)]
            if any(re.search(r"</?[a-z]+[ >/]", str(text)) for text in texts):
                found.append(f"{path.name}:{node.lineno}")
    # The one place that no template reaches: Gradio writes the document, `DocumentMiddleware` changes two of its tags.
    assert [place for place in found if not place.startswith("documents.py")] == []
    assert len(found) <= 2
