"""What judges and the agents of a panel are called, in both languages."""

from backend.judges.spec import JudgeKind
from backend.pairs.ablation import WITHOUT
from backend.pairs.second import AGAIN
from ui.say import Say

Words = tuple[str, str]

NAMES: dict[str, Words] = {
    "length": ("字数", "length"),
    "style": ("表面特征", "style"),
    "ngram": ("字符 n-gram", "char n-gram"),
}
KINDS: dict[JudgeKind, Words] = {
    JudgeKind.PRINCIPLE: ("按原则评判", "Principles"),
    JudgeKind.RUBRIC: ("五个方面打分", "Rubric"),
    JudgeKind.PAIRWISE: ("两两比较", "Pairwise"),
    JudgeKind.PANEL: ("多方评议", "Panel"),
    JudgeKind.REWARD_MODEL: ("训练好的奖励模型", "Trained reward model"),
    JudgeKind.LENGTH: ("基线：字数", "Baseline: length"),
    JudgeKind.STYLE: ("基线：表面特征", "Baseline: style"),
    JudgeKind.NGRAM: ("基线：字符 n-gram", "Baseline: char n-gram"),
}
ROLES: dict[str, Words] = {
    "positive": ("褒方", "Praise"),
    "negative": ("贬方", "Blame"),
    "judge": ("评审", "Judge"),
    "reflect": ("复核", "Review"),
}


def judge_name(say: Say, name: str) -> str:
    """A judge's name for people: baselines, and judges made from others, in the reader's language."""
    if made_of(name):
        return judge_title(say, name)
    return say(*NAMES[name]) if name in NAMES else name


def made_of(name: str) -> bool:
    """Whether the judge of that name was made from another one: with an agent left out, or asked again."""
    return WITHOUT in name or name.endswith(AGAIN)


def judge_title(say: Say, name: str) -> str:
    """A judge's name for people: a kind in the reader's language, and which agents are left out."""
    if name.endswith(AGAIN):
        once = judge_title(say, name.removesuffix(AGAIN))
        return say(f"{once}（再评）", f"{once} (again)")
    base, _, off = name.partition(WITHOUT)
    shown = say(*KINDS[JudgeKind(base)]) if base in set(JudgeKind) else base
    if not off:
        return shown
    roles = say("、", ", ").join(say(*ROLES[role]) if role in ROLES else role for role in off.split("+"))
    return say(f"{shown}（去掉{roles}）", f"{shown} (without {roles.lower()})")
