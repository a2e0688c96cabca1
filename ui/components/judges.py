"""What judges, their verdicts, endpoints and the agents of a panel are called, in both languages."""

from backend.core.enums import Scale, is_excellent
from backend.generation.generators import GeneratorInfo, Readiness
from backend.judges.base import JudgeKind
from backend.judges.scoring.records import JudgeInfo
from backend.preferences.ablation import WITHOUT_INFIX
from backend.preferences.emit import AGAIN_SUFFIX
from backend.services import Services
from ui.components.language import BilingualText, Translator

BASELINE_NAMES: dict[str, BilingualText] = {
    "length": ("字数", "length"),
    "style": ("表面特征", "style"),
    "ngram": ("字符 n-gram", "char n-gram"),
}
JUDGE_KIND_NAMES: dict[JudgeKind, BilingualText] = {
    JudgeKind.PRINCIPLE: ("按原则评判", "Principles"),
    JudgeKind.RUBRIC: ("五个方面打分", "Rubric"),
    JudgeKind.PAIRWISE: ("两两比较", "Pairwise"),
    JudgeKind.PANEL: ("多方评议", "Panel"),
    JudgeKind.RANKING: ("整组排序", "Ranking"),
    JudgeKind.REWARD_MODEL: ("训练好的奖励模型", "Trained reward model"),
    JudgeKind.LENGTH: ("基线：字数", "Baseline: length"),
    JudgeKind.STYLE: ("基线：表面特征", "Baseline: style"),
    JudgeKind.NGRAM: ("基线：字符 n-gram", "Baseline: char n-gram"),
}
PANEL_ROLE_NAMES: dict[str, BilingualText] = {
    "positive": ("褒方", "Praise"),
    "negative": ("贬方", "Blame"),
    "judge": ("评审", "Judge"),
    "reflect": ("复核", "Review"),
}


def judge_name(translate: Translator, stored_name: str) -> str:
    """A judge's name for people: baselines, and judges made from others, in the reader's language."""
    if is_derived_judge(stored_name):
        return judge_title(translate, stored_name)
    return translate(*BASELINE_NAMES[stored_name]) if stored_name in BASELINE_NAMES else stored_name


def is_derived_judge(stored_name: str) -> bool:
    """Whether the judge of that name was made from another one: with an agent left out, or asked again."""
    return WITHOUT_INFIX in stored_name or stored_name.endswith(AGAIN_SUFFIX)


def judge_title(translate: Translator, stored_name: str) -> str:
    """A judge's name for people: a kind in the reader's language, and which agents are left out."""
    # The suffix first: a panel without an agent may be asked again, and then its name has both.
    if stored_name.endswith(AGAIN_SUFFIX):
        first_title = judge_title(translate, stored_name.removesuffix(AGAIN_SUFFIX))
        return translate(f"{first_title}（再评）", f"{first_title} (again)")
    base_name, _, removed_roles = stored_name.partition(WITHOUT_INFIX)
    base_title = translate(*JUDGE_KIND_NAMES[JudgeKind(base_name)]) if base_name in set(JudgeKind) else base_name
    if not removed_roles:
        return base_title
    role_names = translate("、", ", ").join(
        translate(*PANEL_ROLE_NAMES[role_key]) if role_key in PANEL_ROLE_NAMES else role_key
        for role_key in removed_roles.split("+")
    )
    return translate(f"{base_title}（去掉{role_names}）", f"{base_title} (without {role_names.lower()})")


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
    # Waking a model takes seconds; whoever chooses it should expect that.
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
    if verdict_scale is Scale.SCORE or verdict_scale is None:
        return f"{verdict_value:.3f}"
    excellent = is_excellent(verdict_value, verdict_scale)
    if verdict_scale is Scale.BINARY:
        return translate("优秀", "excellent") if excellent else translate("不优秀", "not excellent")
    level_name = translate("优秀", "excellent") if excellent else translate("未达优秀", "below excellent")
    return f"{verdict_value:.2f} / 3 · {level_name}"
