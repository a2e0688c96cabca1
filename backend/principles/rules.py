"""Rules and sets of rules: immutable, hashed, drafted from what an optimiser said."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from backend.errors import UserError
from backend.judges.principles import MAX_RULE, MAX_RULES, parse_principles, starting_principles
from backend.llm.fence import neutralised
from backend.principles.vocabulary import Role, Why
from backend.text import clean, digest, squeeze

MAX_TOTAL = 2_500
"""Characters that all rules of a set may have together."""
_START_G = Path(__file__).parent / "prompts" / "start_g.txt"


@dataclass(frozen=True)
class Rule:
    """One rule, with what it was learnt from (references such as `r3.a2`: round 3, adversarial case 2)."""

    id: str
    text: str
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True)
class RuleSet:
    """The rules of one role at one version."""

    role: Role
    rules: tuple[Rule, ...]

    @property
    def texts(self) -> tuple[str, ...]:
        """The rules as judges take them."""
        return tuple(rule.text for rule in self.rules)

    @property
    def hash(self) -> str:
        """Stands for role and texts; evidence does not change what a set of rules does."""
        return digest(self.role, *self.texts)[:16]

    def plain(self) -> list[dict[str, Any]]:
        """As JSON has it."""
        return [{"id": one.id, "text": one.text, "evidence": list(one.evidence)} for one in self.rules]

    @classmethod
    def read(cls, role: Role, rules: Sequence[Mapping[str, Any]]) -> Self:
        """From what `plain` gave."""
        return cls(role, tuple(Rule(one["id"], one["text"], tuple(one["evidence"])) for one in rules))


@dataclass(frozen=True)
class Draft:
    """What an optimiser's words make: rules, and why they cannot be tried where they cannot."""

    rules: RuleSet
    refused: Why | None = None


def starting(role: Role) -> RuleSet:
    """Our own first version."""
    if role is Role.DETECTOR:
        return written(role, starting_principles())
    return written(role, parse_principles(_START_G.read_text(encoding="utf-8")))


def written(role: Role, texts: Sequence[str], evidence: Sequence[str] = ()) -> RuleSet:
    """Rules by hand or from a file. Raises UserError as `parse_principles` does."""
    return RuleSet(role, tuple(rule(text, evidence) for text in tidy(texts)))


def rule(text: str, evidence: Sequence[str] = ()) -> Rule:
    """A rule; its id follows from its words, so the same rule is the same in every version."""
    return Rule(digest(squeeze(text))[:8], text, tuple(evidence))


def tidy(texts: Sequence[str]) -> tuple[str, ...]:
    """The rules each on one line, without numbers, tags and role markers, as every judge reads them.

    Raises UserError for none, more than ten, or one that is too long.
    """
    rules = parse_principles("\n".join(map(_numberless, texts)))
    if sum(map(len, rules)) > MAX_TOTAL:
        raise UserError(
            f"The rules have more than {MAX_TOTAL} characters together; shorten them.",
            f"全部规则合计超过 {MAX_TOTAL} 字，请精简。",
        )
    return tuple(dict.fromkeys(rules))


def draft(parent: RuleSet, said: Sequence[str], evidence: Sequence[Sequence[str]]) -> Draft:
    """The set that an optimiser's rules make. A rule that the parent has keeps its evidence.

    evidence: per rule of `said`, what it was learnt from. Refused by rule: none, more than ten, too
    long, or the same texts as the parent; nothing is cut to fit, since nobody knows which rule to lose.
    """
    known = {one.id: one for one in parent.rules}
    made: dict[str, Rule] = {}
    for text, sources in zip(said, evidence, strict=True):
        for line in filter(None, map(_numberless, text.splitlines())):
            fresh = rule(line, sources)
            made.setdefault(fresh.id, known.get(fresh.id, fresh))
    rules = RuleSet(parent.role, tuple(made.values()))
    return Draft(rules, _refusal(parent, rules))


def _refusal(parent: RuleSet, rules: RuleSet) -> Why | None:
    if not rules.rules:
        return Why.NO_RULES
    if len(rules.rules) > MAX_RULES:
        return Why.TOO_MANY
    if any(len(text) > MAX_RULE for text in rules.texts) or sum(map(len, rules.texts)) > MAX_TOTAL:
        return Why.TOO_LONG
    return Why.UNCHANGED if rules.hash == parent.hash else None


def changes(before: Sequence[str], after: Sequence[str]) -> list[tuple[str, str]]:
    """What became of each rule: ("=", text), ("-", old) or ("+", new), in the order of reading."""
    found: list[tuple[str, str]] = []
    matcher = difflib.SequenceMatcher(a=list(before), b=list(after), autojunk=False)
    for kind, a_from, a_to, b_from, b_to in matcher.get_opcodes():
        if kind == "equal":
            found += [("=", text) for text in before[a_from:a_to]]
        else:
            found += [("-", text) for text in before[a_from:a_to]]
            found += [("+", text) for text in after[b_from:b_to]]
    return found


def _numberless(line: str) -> str:
    """The rule as a judge will read it, however often it is read: on one line, without tags and numbers.

    Rules stand in prompts without a fence, and may have been inspired by hostile greetings.
    """
    plain, before = " ".join(neutralised(clean(line)).split()), None
    while plain != before:
        before = plain
        try:
            plain = parse_principles(plain)[0]
        except UserError:
            return plain if len(plain) > MAX_RULE else ""
    return plain
