"""Names and small pieces that the tabs of the judges' page share."""

from collections.abc import Mapping
from typing import Any

from backend.core.enums import RUBRIC_EXCELLENT, Scale
from backend.generation.generators import GeneratorInfo, Readiness
from backend.judges.base import JudgeKind
from backend.judges.scoring.records import JudgeInfo, Opinion
from backend.services import Services
from ui.components.judges import JUDGE_KIND_NAMES, judge_name
from ui.components.language import DIMENSION_NAMES, Translator
from ui.components.widgets import esc, note


def judge_kind_label(translate: Translator, judge_kind: JudgeKind | None) -> str:
    """What a kind is called."""
    return translate(*JUDGE_KIND_NAMES[judge_kind]) if judge_kind else "–"


def judge_label(translate: Translator, judge_info: JudgeInfo) -> str:
    """A judge in a list of choices."""
    older_mark = "" if judge_info.newest else translate("（旧版）", " (older)")
    return f"{judge_name(translate, judge_info.name)} · {judge_info.version[:8]}{older_mark}"


def list_judge_choices(services: Services, translate: Translator) -> list[tuple[str, int]]:
    """Every judge at every version."""
    return [(judge_label(translate, judge_info), judge_info.id) for judge_info in services.scoring.catalog.judges()]


def endpoint_choices(services: Services, translate: Translator) -> list[tuple[str, str]]:
    """The endpoints, by name; the first choice leaves it to the house."""
    endpoint_options = [
        (f"{endpoint.name} · {endpoint.model}", endpoint.name) for endpoint in services.endpoints.endpoints()
    ]
    return [(translate("默认", "Default"), ""), *endpoint_options]


def generator_label(translate: Translator, generator: GeneratorInfo) -> str:
    """A generator in a list of choices."""
    asleep_mark = translate("（用时启动）", " (starts when used)") if generator.readiness is Readiness.ASLEEP else ""
    return (
        f"{generator.title} · {generator.model}{asleep_mark}"
        if generator.artifact is None
        else f"{generator.title}{asleep_mark}"
    )


def verdict_mark(translate: Translator, verdict_value: float | None, verdict_scale: Scale | None) -> str:
    """A verdict in a word or a number."""
    if verdict_value is None:
        return translate("未评", "unscored")
    if verdict_scale is Scale.BINARY:
        return translate("优秀", "excellent") if verdict_value >= 0.5 else translate("不优秀", "not excellent")
    if verdict_scale is Scale.RUBRIC:
        level_name = (
            translate("优秀", "excellent")
            if verdict_value >= RUBRIC_EXCELLENT
            else translate("未达优秀", "below excellent")
        )
        return f"{verdict_value:.2f} / 3 · {level_name}"
    return f"{verdict_value:.3f}"


def opinion_html(translate: Translator, judge_opinion: Opinion, verdict_scale: Scale | None) -> str:
    """A verdict with its reason and whatever stands behind it."""
    note_kind = "warn" if judge_opinion.value is None else "ok"
    verdict_note = note(verdict_mark(translate, judge_opinion.value, verdict_scale), note_kind)
    reason_html = f"<p>{esc(judge_opinion.reason)}</p>" if judge_opinion.reason else ""
    return (
        verdict_note
        + reason_html
        + _dimension_figures(translate, judge_opinion.details)
        + _statement_blocks(translate, judge_opinion.details)
    )


def _dimension_figures(translate: Translator, details: Mapping[str, Any]) -> str:
    dimensions = details.get("dimensions")
    if not isinstance(dimensions, Mapping):
        return ""
    dimension_cells = (
        f"<div><b>{esc(dimensions.get(dimension, '–'))}</b><span>{translate(*name_pair)}</span></div>"
        for dimension, name_pair in DIMENSION_NAMES.items()
    )
    return f'<div class="zf-figures">{"".join(dimension_cells)}</div>'


def _statement_blocks(translate: Translator, details: Mapping[str, Any]) -> str:
    html_blocks = []
    for detail_key, name_pair in (("merits", ("褒方", "For")), ("faults", ("贬方", "Against"))):
        if isinstance(details.get(detail_key), list):
            line_items = "".join(f"<li>{esc(statement)}</li>" for statement in details[detail_key]) or "<li>–</li>"
            html_blocks.append(f"<h4>{translate(*name_pair)}</h4><ul>{line_items}</ul>")
    for detail_key, name_pair in (("first", ("初判", "First verdict")), ("final", ("复核", "Review"))):
        if isinstance(details.get(detail_key), Mapping):
            round_details = details[detail_key]
            verdict_text = f"{esc(round_details.get('verdict', '–'))} · {esc(round_details.get('explanation', ''))}"
            html_blocks.append(f"<h4>{translate(*name_pair)}</h4><p>{verdict_text}</p>")
    return "".join(html_blocks)
