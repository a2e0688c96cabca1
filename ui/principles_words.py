"""Names of roles, phases, states and proposers on the page of principles, and small pieces it shares."""

from backend.evolution.records import RunInfo, VersionInfo
from backend.evolution.told import told
from backend.principles.vocabulary import Agent, Phase, Proposer, Role, RunState, Search
from backend.services import Services
from backend.vocabulary import Flaw
from backend.writing.faults import Fault
from ui.say import FLAWS, Say
from ui.widgets import pill

Words = tuple[str, str]

ROLES: dict[Role, Words] = {
    Role.DETECTOR: ("S_D · 评审看什么", "S_D · what the judge looks for"),
    Role.GENERATOR: ("S_G · 怎么藏缺陷", "S_G · how flaws are hidden"),
}
AGENTS: dict[Agent, Words] = {
    Agent.GENERATOR: ("生成者", "Generator"),
    Agent.DETECTOR: ("评审", "Detector"),
    Agent.CONFIRMER: ("核对员", "Confirmer"),
    Agent.REFLECTOR: ("复盘者", "Reflector"),
    Agent.OPTIMISER: ("优化器", "Optimiser"),
}
PHASES: dict[Phase, Words] = {
    Phase.START: ("量起点", "measuring the start"),
    Phase.ADVERSARY: ("对抗", "adversarial phase"),
    Phase.CONFIRM: ("核对缺陷", "confirming flaws"),
    Phase.REFLECT: ("复盘", "self-reflection"),
    Phase.PROPOSE_D: ("提出 S_D", "proposing S_D"),
    Phase.TRY_D: ("小批试用", "trial on the minibatch"),
    Phase.TRIM: ("逐条试用", "each change by itself"),
    Phase.GATE_D: ("把关", "gate"),
    Phase.PROPOSE_G: ("提出 S_G", "proposing S_G"),
    Phase.DUEL: ("S_G 比试", "duel of S_G"),
    Phase.DUEL_CONFIRM: ("核对比试", "confirming the duel"),
    Phase.GATE_G: ("比试结果", "result of the duel"),
    Phase.REWRITE: ("对照改写", "plain rewriting"),
    Phase.LOCKED: ("开封存集", "opening the locked set"),
}
STATES: dict[RunState, tuple[str, str, str, str]] = {
    RunState.QUEUED: ("wait", "◷", "排队中", "queued"),
    RunState.RUNNING: ("run", "▶", "进行中", "running"),
    RunState.PAUSED: ("wait", "‖", "已暂停", "paused"),
    RunState.WAITING: ("wait", "?", "等人确认", "waiting for people"),
    RunState.BUDGET: ("wait", "■", "预算用完", "budget used up"),
    RunState.FAILED: ("bad", "✕", "出错", "failed"),
    RunState.DONE: ("good", "✓", "完成", "done"),
}
UNTOLD: Words = (
    "生成者是训练好的模型：只按请求写，不听 S_G，所以 S_G 不进化；轮到哪类缺陷，就请核对员在它写的里面找。",
    "The Generator is a model trained here: it writes from the bare request and is not told S_G, which "
    "does not evolve; the confirmer looks in what it wrote for the kind of flaw whose turn it is.",
)
BROKEN_OFF = ("bad", "✕", "中断", "broken off")
PROPOSERS: dict[Proposer, Words] = {
    Proposer.START: ("起点", "start"),
    Proposer.OPTIMISER: ("优化器", "optimiser"),
    Proposer.GEPA: ("GEPA", "GEPA"),
    Proposer.REWRITE: ("一次改写（对照）", "one rewriting (baseline)"),
    Proposer.PERSON: ("人工", "person"),
}
SEARCHES: dict[Search, Words] = {
    Search.GAME: ("对局", "The game"),
    Search.GEPA: ("GEPA", "GEPA"),
}
PARTS: dict[str, Words] = {
    "play": ("对局集", "play"),
    "gate": ("把关集", "gate"),
    "locked": ("封存集", "locked"),
}


def flaw_name(say: Say, flaw: str) -> str:
    """A kind of flaw for people."""
    return say(*FLAWS[Flaw(flaw)])


def fault_name(say: Say, fault: str) -> str:
    """Why there was nothing to judge."""
    if fault in set(Fault):
        return say.of(Fault(fault).message)
    return say("答复读不出来。", "The reply could not be read.")


def state_words(info: RunInfo) -> tuple[str, str, str, str]:
    """How a run stands: colour, sign and the word in both languages."""
    return BROKEN_OFF if info.broken_off else STATES[info.state]


def state_pill(say: Say, info: RunInfo) -> str:
    """How a run stands, as sign, word and colour."""
    kind, sign, zh, en = state_words(info)
    return pill(kind, sign, say(zh, en))


def outcome_pill(say: Say, one: VersionInfo) -> str:
    """Whether a version is in."""
    if one.proposer is Proposer.START:
        return pill("", "●", say("起点", "start"))
    if one.accepted is None:
        return pill("", "○", say("未把关", "not gated"))
    if one.accepted:
        return pill("good", "✓", say("采纳", "accepted"))
    return pill("off", "✕", say("未采纳", "rejected"))


def why(say: Say, one: VersionInfo) -> str:
    """The sentence behind that."""
    return say.of(told(one.why, one.facts)) if one.why else ""


def version_label(say: Say, one: VersionInfo) -> str:
    """A version in a list of choices."""
    score = "" if one.score is None else f" · {one.score:.3f}"
    now = say(" · 当前", " · current") if one.current else ""
    return f"v{one.id} · {one.role} · {say(*PROPOSERS[one.proposer])}{score}{now}"


def run_label(say: Say, info: RunInfo) -> str:
    """A run in a list of choices."""
    _, _, zh, en = state_words(info)
    return f"{info.id} · {info.dataset} · {say(*SEARCHES[info.settings.search])} · {say(zh, en)}"


def label_choices(services: Services, say: Say) -> list[tuple[str, str]]:
    """Human references with labels on single greetings."""
    return [
        (f"{info.name} · {say(f'{info.labels:,} 条', f'{info.labels:,} labels')}", info.name)
        for info in services.board.references()
        if info.kind != "compare"
    ]
