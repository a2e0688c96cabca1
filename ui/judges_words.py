"""Names and small pieces that the tabs of the judges' page share."""

from collections.abc import Mapping
from typing import Any

from backend.judges.spec import JudgeKind
from backend.scoring.records import JudgeInfo, Opinion
from backend.services import Services
from backend.vocabulary import RUBRIC_EXCELLENT, Scale
from backend.writing.generators import GeneratorInfo, Readiness
from ui.judge_names import KINDS, judge_name
from ui.say import DIMENSIONS, Say
from ui.widgets import esc, note


def kind_of(say: Say, kind: JudgeKind | None) -> str:
    """What a kind is called."""
    return say(*KINDS[kind]) if kind else "–"


def label(say: Say, info: JudgeInfo) -> str:
    """A judge in a list of choices."""
    older = "" if info.newest else say("（旧版）", " (older)")
    return f"{judge_name(say, info.name)} · {info.version[:8]}{older}"


def choices(services: Services, say: Say) -> list[tuple[str, int]]:
    """Every judge at every version."""
    return [(label(say, info), info.id) for info in services.scoring.catalog.judges()]


def endpoint_choices(services: Services, say: Say) -> list[tuple[str, str]]:
    """The endpoints, by name; the first choice leaves it to the house."""
    named = [(f"{info.name} · {info.model}", info.name) for info in services.endpoints.endpoints()]
    return [(say("默认", "Default"), ""), *named]


def generator_label(say: Say, info: GeneratorInfo) -> str:
    """A generator in a list of choices."""
    asleep = say("（用时启动）", " (starts when used)") if info.readiness is Readiness.ASLEEP else ""
    return f"{info.title} · {info.model}{asleep}" if info.artifact is None else f"{info.title}{asleep}"


def mark(say: Say, value: float | None, scale: Scale | None) -> str:
    """A verdict in a word or a number."""
    if value is None:
        return say("未评", "unscored")
    if scale is Scale.BINARY:
        return say("优秀", "excellent") if value >= 0.5 else say("不优秀", "not excellent")
    if scale is Scale.RUBRIC:
        above = say("优秀", "excellent") if value >= RUBRIC_EXCELLENT else say("未达优秀", "below excellent")
        return f"{value:.2f} / 3 · {above}"
    return f"{value:.3f}"


def opinion(say: Say, said: Opinion, scale: Scale | None) -> str:
    """A verdict with its reason and whatever stands behind it."""
    kind = "warn" if said.value is None else "ok"
    head = note(mark(say, said.value, scale), kind)
    reason = f"<p>{esc(said.reason)}</p>" if said.reason else ""
    return head + reason + _dimensions(say, said.details) + _statements(say, said.details)


def _dimensions(say: Say, details: Mapping[str, Any]) -> str:
    found = details.get("dimensions")
    if not isinstance(found, Mapping):
        return ""
    cells = (
        f"<div><b>{esc(found.get(key, '–'))}</b><span>{say(*name)}</span></div>"
        for key, name in DIMENSIONS.items()
    )
    return f'<div class="zf-figures">{"".join(cells)}</div>'


def _statements(say: Say, details: Mapping[str, Any]) -> str:
    parts = []
    for key, name in (("merits", ("褒方", "For")), ("faults", ("贬方", "Against"))):
        if isinstance(details.get(key), list):
            lines = "".join(f"<li>{esc(line)}</li>" for line in details[key]) or "<li>–</li>"
            parts.append(f"<h4>{say(*name)}</h4><ul>{lines}</ul>")
    for key, name in (("first", ("初判", "First verdict")), ("final", ("复核", "Review"))):
        if isinstance(details.get(key), Mapping):
            told = details[key]
            said = f"{esc(told.get('verdict', '–'))} · {esc(told.get('explanation', ''))}"
            parts.append(f"<h4>{say(*name)}</h4><p>{said}</p>")
    return "".join(parts)
