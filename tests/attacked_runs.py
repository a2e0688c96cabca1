"""Views of runs of pairs and of the game whose every text is an attack; `tests/test_escaping.py` looks at them."""

from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace as Record
from typing import Any

from backend.core.enums import (
    Agent,
    Decider,
    DecisionReason,
    GamePhase,
    JobStatus,
    PairStage,
    PairState,
    Proposer,
    Role,
    RunState,
    SearchMethod,
)
from backend.core.errors import Message
from backend.principles.records import StepInfo
from ui.components.language import Translator
from ui.components.templates import render
from ui.preferences import debate, table, views
from ui.principles import figures, log, versions, watch

ATTACK = "\"'><img src=x onerror=alert(1)>"
MESSAGE = Message(ATTACK, ATTACK)


def pair_run() -> Any:
    """A run of pairs that broke off."""
    request = {"judge": Record(name=ATTACK), "plan": Record(generators=[ATTACK], candidates=4)}
    texts = {"name": ATTACK, "judge_version": ATTACK, "campaign": ATTACK}
    caps = dict.fromkeys(("max_calls", "max_tokens", "max_cost"))
    counts = {"calls": 1, "tokens": 1, "cost": 0.1, "seconds": 1.0, "report": report()}
    return Record(id=1, **texts, **counts, stage=PairStage.JUDGING, playing=None, request=Record(**request, **caps))


def report() -> Any:
    """A report that could not tell everything."""
    told = {"pairs": 3, "length": 0.5, "style": None, "is_balanced": False, "missing_style_notice": MESSAGE}
    lost = {"lost_to_length": 1, "lost_to_style": 1, "lost_to_second": 1}
    return Record(before=Record(**told), after=Record(**told), **lost, sparse_notice=MESSAGE)


def funnel() -> Any:
    """A funnel with a loss that has no name of ours."""
    counts = dict.fromkeys(("prompts", "candidates", "possible", "seen_by_judge", "kept", "pairs", "exact_chars"), 3)
    return Record(**counts, dropped={f"prompt_{ATTACK}": 1}, states={"checking": 2}, notice=MESSAGE)


def job() -> Any:
    """A job that failed."""
    return Record(status=JobStatus.FAILED, error=MESSAGE, waiting=None, ended=True, in_foreground=False, progress=0.5)


def pair() -> Any:
    """A pair that was debated, judged again and overruled."""
    verdict = {"verdict": 1, "explanation": ATTACK}
    details = {"examples": [[1, ATTACK]], "merits": [ATTACK], "faults": [], "first": verdict, "final": verdict}
    side = {"text": ATTACK, "generator": ATTACK, "recipe": {"temperature": ATTACK}, "call_id": ATTACK, "people": (1.0,)}
    again = Record(value=0, reason=ATTACK, details={"calls": [ATTACK]})
    greeting = Record(**side, value=1, reason=ATTACK, details=details, again=again)
    decision = Record(name=ATTACK, by=Decider.PERSON, at=datetime.now(UTC), state=PairState.FLIPPED, note=ATTACK)
    texts = dict.fromkeys(("prompt", "run_name", "judge", "judge_version", "second_judge", "second_version"), ATTACK)
    kept = {"prompts": {ATTACK: ATTACK}, "decisions": [decision], "difference": 0.5, "state": PairState.FLIPPED}
    return Record(id=1, **texts, **kept, chosen=greeting, rejected=greeting)


def pairs(translate: Translator) -> str:
    """A page of the table of pairs."""
    texts = dict.fromkeys(("prompt", "chosen", "rejected"), ATTACK)
    row = Record(id=1, **texts, by=Decider.PANEL, overturned=True, state=PairState.REVIEW)
    return table._page_html(translate, Record(rows=[row], total=1), 0, 0)


def version() -> Any:
    """A version that a person wrote."""
    rules = Record(rules=[Record(text=ATTACK, evidence=(ATTACK,))], texts=(ATTACK,))
    numbers = {"id": 1, "parent": None, "run": 1, "round": 1, "score": 0.5, "low": 0.4, "high": 0.6, "calls": 1}
    facts = {"why": DecisionReason.BETTER, "facts": {"n": ATTACK, "p": 0.1}, "accepted": True, "current": True}
    texts = {"author": ATTACK, "note": ATTACK, "cost": 0.1, "proposer": Proposer.PERSON, "role": Role.DETECTOR}
    return Record(**numbers, **facts, **texts, rules=rules)


def game_run() -> Any:
    """A run of the game that failed, whose Generator is a model trained here."""
    numbers = dict.fromkeys(("rounds", "accepted", "rejected", "calls", "tokens"), 1)
    labels = {split: {"good": 1, "bad": 1} for split in ("play", "gate", "locked")}
    settings = Record(rounds=1, search=SearchMethod.GAME)
    state = {
        "state": RunState.FAILED,
        "broken_off": False,
        "playing": None,
        "error": MESSAGE,
        "phase": None,
        "message": "",
    }
    endpoints = {Agent.GENERATOR: {"name": "policy:1", "model": ATTACK}}
    return Record(
        id=1, dataset=ATTACK, cost=0.1, settings=settings, labels=labels, endpoints=endpoints, **numbers, **state
    )


def steps() -> list[StepInfo]:
    """A round in which everything was said that can be."""
    case = {"prompt": ATTACK, "flaw": "cliche", "fault": "", "explanation": ATTACK, "value": 1, "reason": ATTACK}
    cases = [{**case, "greeting": f"a{ATTACK}b", "place": ATTACK}, {**case, "fault": "empty"}]
    item = {"id": 1, "prompt": ATTACK, "greeting": ATTACK, "good": True, "value": 0, "reason": ATTACK, "advice": ATTACK}
    phases = {
        GamePhase.ADVERSARY: {"cases": cases, "detector": 1, "generator": 2},
        GamePhase.CONFIRM: {"claims": {"0": [True, ATTACK]}, "by": "judge"},
        GamePhase.REFLECT: {"items": [item], "detector": 1},
        GamePhase.PROPOSE_D: {"version": 1},
        GamePhase.TRIM: trial(),
    }
    return [StepInfo(1, 1, phase, data, 0, 0.0, datetime.now(UTC)) for phase, data in phases.items()]


def trial() -> dict[str, Any]:
    """Changes that were tried one by one."""
    return {
        "changes": [{"added": True, "text": ATTACK, "undone": False, "change": [1, 0]}],
        "left": "less",
        "version": 1,
    }


def locked(translate: Translator) -> str:
    """The locked report."""
    row = Record(name=ATTACK, run=1, version=1, calls=1, cost=0.1, figures={"n": 1})
    return figures.locked_table(translate, [row], MESSAGE)


def compared(translate: Translator) -> str:
    """Two versions on the same labels."""
    row = {"name": ATTACK, "n": 1, "unscored": 0, **dict.fromkeys(figures.REPORT_METRICS)}
    return figures.comparison_html(translate, {"rows": [row], "change": {"fixed": 1, "broken": 0, "p": 0.5}})


def open_case(translate: Translator) -> str:
    """A planted flaw that waits for a person."""
    texts = dict.fromkeys(("prompt", "place", "explanation"), ATTACK)
    return watch.case_html(translate, Record(**texts, greeting=f"a{ATTACK}b", flaw="cliche"))


RUN_VIEWS: dict[str, Callable[[Translator], str]] = {
    "pair runs": lambda translate: views.runs_html(translate, [pair_run()], {1: job()}, {1: 0.5}, 1),
    "pair run": lambda translate: views.run_head_html(translate, pair_run(), job(), 0.5),
    "funnel": lambda translate: views.funnel_html(translate, pair_run(), funnel()),
    "debate": lambda translate: debate.debate_html(translate, pair()),
    "pairs": pairs,
    "game": lambda translate: figures.run_status_html(translate, game_run(), None),
    "rules": lambda translate: versions.current_rules_html(translate, [version()]),
    "tree": lambda translate: versions.version_tree(translate, [version()], 1),
    "diff": lambda _: versions.diff_html([("+", ATTACK)]),
    "curve": lambda translate: figures.gate_curve(translate, [version()]),
    "conversation": lambda translate: log.conversation_html(translate, steps(), [version()]),
    "locked report": locked,
    "comparison": compared,
    "open case": open_case,
    "heading": lambda _: render("principles/templates/heading.html", heading=ATTACK),
}
