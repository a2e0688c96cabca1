"""Names of roles, phases, states and proposers on the page of principles, and small pieces it shares."""

from markupsafe import Markup

from backend.core.enums import Agent, Flaw, GamePhase, Proposer, Role, RunState, SearchMethod
from backend.generation.checks import Fault
from backend.principles.records import RunInfo, VersionInfo
from backend.principles.rulings import explain_decision
from backend.services import Services
from ui.components.language import FLAW_NAMES, BilingualText, Translator
from ui.components.widgets import pill_html

ROLE_NAMES: dict[Role, BilingualText] = {
    Role.DETECTOR: ("S_D · 评审看什么", "S_D · what the judge looks for"),
    Role.GENERATOR: ("S_G · 怎么藏缺陷", "S_G · how flaws are hidden"),
}
AGENT_NAMES: dict[Agent, BilingualText] = {
    Agent.GENERATOR: ("生成者", "Generator"),
    Agent.DETECTOR: ("评审", "Detector"),
    Agent.CONFIRMER: ("核对员", "Confirmer"),
    Agent.REFLECTOR: ("复盘者", "Reflector"),
    Agent.OPTIMISER: ("优化器", "Optimiser"),
}
PHASE_NAMES: dict[GamePhase, BilingualText] = {
    GamePhase.START: ("量起点", "measuring the start"),
    GamePhase.ADVERSARY: ("对抗", "adversarial phase"),
    GamePhase.CONFIRM: ("核对缺陷", "confirming flaws"),
    GamePhase.REFLECT: ("复盘", "self-reflection"),
    GamePhase.PROPOSE_D: ("提出 S_D", "proposing S_D"),
    GamePhase.TRY_D: ("小批试用", "trial on the minibatch"),
    GamePhase.TRIM: ("逐条试用", "each change by itself"),
    GamePhase.GATE_D: ("把关", "gate"),
    GamePhase.PROPOSE_G: ("提出 S_G", "proposing S_G"),
    GamePhase.DUEL: ("S_G 比试", "duel of S_G"),
    GamePhase.DUEL_CONFIRM: ("核对比试", "confirming the duel"),
    GamePhase.GATE_G: ("比试结果", "result of the duel"),
    GamePhase.REWRITE: ("对照改写", "plain rewriting"),
    GamePhase.LOCKED: ("开封存集", "opening the locked set"),
}
STATE_PILLS: dict[RunState, tuple[str, str, str, str]] = {
    RunState.QUEUED: ("wait", "◷", "排队中", "queued"),
    RunState.RUNNING: ("run", "▶", "进行中", "running"),
    RunState.PAUSED: ("wait", "‖", "已暂停", "paused"),
    RunState.WAITING: ("wait", "?", "等人确认", "waiting for people"),
    RunState.BUDGET: ("wait", "■", "预算用完", "budget used up"),
    RunState.FAILED: ("bad", "✕", "出错", "failed"),
    RunState.DONE: ("good", "✓", "完成", "done"),
}
OWN_MODEL_NOTE: BilingualText = (
    "生成者是训练好的模型：只按请求写，不听 S_G，所以 S_G 不进化；轮到哪类缺陷，就请核对员在它写的里面找。",
    "The Generator is a model trained here: it writes from the bare request and is not told S_G, which "
    "does not evolve; the confirmer looks in what it wrote for the kind of flaw whose turn it is.",
)
BROKEN_OFF = ("bad", "✕", "中断", "broken off")
PROPOSER_NAMES: dict[Proposer, BilingualText] = {
    Proposer.START: ("起点", "start"),
    Proposer.OPTIMISER: ("优化器", "optimiser"),
    Proposer.GEPA: ("GEPA", "GEPA"),
    Proposer.REWRITE: ("一次改写（对照）", "one rewriting (baseline)"),
    Proposer.PERSON: ("人工", "person"),
}
SEARCH_NAMES: dict[SearchMethod, BilingualText] = {
    SearchMethod.GAME: ("对局", "The game"),
    SearchMethod.GEPA: ("GEPA", "GEPA"),
}
SPLIT_NAMES: dict[str, BilingualText] = {
    "play": ("对局集", "play"),
    "gate": ("把关集", "gate"),
    "locked": ("封存集", "locked"),
}


# Rows of the locked report.
REPORT_ROW_NAMES: dict[str, BilingualText] = {
    "start": ("起点 S_D", "first S_D"),
    "rewrite": ("一次改写（无把关）", "one rewriting, ungated"),
    "game": ("对局找到的", "found by the game"),
    "gepa": ("GEPA 找到的", "found by GEPA"),
    "length": ("基线：字数", "baseline: length"),
    "style": ("基线：表面特征", "baseline: style"),
    "ngram": ("基线：n-gram", "baseline: n-gram"),
}


def flaw_name(translate: Translator, flaw_kind: str) -> str:
    """A kind of flaw for people."""
    return translate(*FLAW_NAMES[Flaw(flaw_kind)])


def fault_name(translate: Translator, fault_kind: str) -> str:
    """Why there was nothing to judge."""
    # Stored by a run that may be older or newer than this program.
    if fault_kind in set(Fault):
        return translate.localize(Fault(fault_kind).message)
    return translate("答复读不出来。", "The reply could not be read.")


def state_labels(run_info: RunInfo) -> tuple[str, str, str, str]:
    """How a run stands: colour, sign and the word in both languages."""
    return BROKEN_OFF if run_info.broken_off else STATE_PILLS[run_info.state]


def state_pill(translate: Translator, run_info: RunInfo) -> Markup:
    """How a run stands, as sign, word and colour."""
    css_kind, state_sign, zh, en = state_labels(run_info)
    return pill_html(css_kind, state_sign, translate(zh, en))


def outcome_pill(translate: Translator, version: VersionInfo) -> Markup:
    """Whether a version is in."""
    if version.proposer is Proposer.START:
        return pill_html("", "●", translate("起点", "start"))
    if version.accepted is None:
        return pill_html("", "○", translate("未把关", "not gated"))
    if version.accepted:
        return pill_html("good", "✓", translate("采纳", "accepted"))
    return pill_html("off", "✕", translate("未采纳", "rejected"))


def decision_reason(translate: Translator, version: VersionInfo) -> str:
    """The sentence behind that."""
    return translate.localize(explain_decision(version.why, version.facts)) if version.why else ""


def version_label(translate: Translator, version: VersionInfo) -> str:
    """A version in a list of choices."""
    score_text = "" if version.score is None else f" · {version.score:.3f}"
    current_mark = translate(" · 当前", " · current") if version.current else ""
    return f"v{version.id} · {version.role} · {translate(*PROPOSER_NAMES[version.proposer])}{score_text}{current_mark}"


def run_label(translate: Translator, run_info: RunInfo) -> str:
    """A run in a list of choices."""
    _, _, zh, en = state_labels(run_info)
    search_name = translate(*SEARCH_NAMES[run_info.settings.search])
    return f"{run_info.id} · {run_info.dataset} · {search_name} · {translate(zh, en)}"


def split_passage(greeting_text: str, flaw_passage: str) -> tuple[str, str, str]:
    """A greeting around the passage where its flaw stands, which is empty where it does not stand there."""
    # The Adversary quotes where it has planted the flaw, and models do not always quote exactly.
    if not flaw_passage or flaw_passage not in greeting_text:
        return greeting_text, "", ""
    text_before, _, text_after = greeting_text.partition(flaw_passage)
    return text_before, flaw_passage, text_after


def label_choices(services: Services, translate: Translator) -> list[tuple[str, str]]:
    """Human references with labels on single greetings."""
    return [
        (
            f"{reference.name} · {translate(f'{reference.labels:,} 条', f'{reference.labels:,} labels')}",
            reference.name,
        )
        for reference in services.board.references()
        # The game asks of one greeting whether it is good; a comparison does not say.
        if reference.kind != "compare"
    ]
