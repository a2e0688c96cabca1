"""Rules and sets of rules: immutable, hashed, drafted from what an optimiser wrote."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self

from pydantic.dataclasses import dataclass as record_dataclass

from backend.core.enums import DecisionReason, Role
from backend.core.errors import UserError
from backend.core.stored_records import read_record, stored_json
from backend.core.text import digest, normalize_text, strip_white_space
from backend.judges.criteria import MAX_RULE_CHARACTERS, MAX_RULES, parse_principles, starting_principles
from backend.llm.prompts import PromptTemplate, load_template, neutralise_text

# Characters that all rules of a set may have together.
MAX_TOTAL_LENGTH = 2_500
PROMPTS_FOLDER = Path(__file__).parent / "prompts"
_GENERATOR_START_FILE = PROMPTS_FOLDER / "start_g.txt"


@record_dataclass(frozen=True)
class PrincipleRule:
    """One rule, with what it was learnt from (references such as “r3.a2”: round 3, adversarial case 2)."""

    id: str
    text: str
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True)
class RuleSet:
    """The rules of one role at one version."""

    role: Role
    rules: tuple[PrincipleRule, ...]

    @property
    def texts(self) -> tuple[str, ...]:
        """The rules as judges take them."""
        return tuple(member.text for member in self.rules)

    @property
    def hash(self) -> str:
        """Stands for role and texts; evidence does not change what a set of rules does."""
        # 64 bits are plenty for the versions of one archive; the column is as wide.
        return digest(self.role, *self.texts)[:16]

    @property
    def stored_rules(self) -> list[Any]:
        """The rules as JSON has them; the role has a column of its own."""
        return [stored_json(member) for member in self.rules]

    @classmethod
    def from_stored(cls, agent_role: Role, stored_rules: Sequence[Mapping[str, Any]]) -> Self:
        """From what `stored_rules` gave."""
        return cls(agent_role, tuple(read_record(PrincipleRule, stored_rule) for stored_rule in stored_rules))


@dataclass(frozen=True)
class RulesDraft:
    """What an optimiser's words make: rules, and why they cannot be tried where they cannot."""

    rules: RuleSet
    refused: DecisionReason | None = None


def starting_rules(agent_role: Role) -> RuleSet:
    """Our own first version."""
    if agent_role is Role.DETECTOR:
        return rules_from_texts(agent_role, starting_principles())
    return rules_from_texts(agent_role, parse_principles(_GENERATOR_START_FILE.read_text(encoding="utf-8")))


def rules_from_texts(agent_role: Role, rule_texts: Sequence[str], evidence: Sequence[str] = ()) -> RuleSet:
    """Rules by hand or from a file. Raises UserError as `parse_principles` does."""
    return RuleSet(agent_role, tuple(build_rule(rule_text, evidence) for rule_text in tidy_rules(rule_texts)))


def build_rule(rule_text: str, evidence: Sequence[str] = ()) -> PrincipleRule:
    """A rule; its id follows from its words, so the same rule is the same in every version."""
    # Without white space, so that a rule that was only wrapped anew is still the same rule.
    return PrincipleRule(digest(strip_white_space(rule_text))[:8], rule_text, tuple(evidence))


def tidy_rules(rule_texts: Sequence[str]) -> tuple[str, ...]:
    """The rules each on one line, without numbers, tags and role markers, as every judge reads them.

    Raises UserError for none, more than ten, or one that is too long.
    """
    cleaned_rules = parse_principles("\n".join(map(_normalised_line, rule_texts)))
    if sum(map(len, cleaned_rules)) > MAX_TOTAL_LENGTH:
        raise UserError(
            f"The rules have more than {MAX_TOTAL_LENGTH} characters together; shorten them.",
            f"全部规则合计超过 {MAX_TOTAL_LENGTH} 字，请精简。",
        )
    return tuple(dict.fromkeys(cleaned_rules))


def draft_rules(parent_rules: RuleSet, rule_texts: Sequence[str], evidence: Sequence[Sequence[str]]) -> RulesDraft:
    """The set that an optimiser's rules make. A rule that the parent has keeps its evidence.

    evidence: per text of `rule_texts`, what it was learnt from. Refused by rule: none, more than ten, too
    long, or the same texts as the parent; nothing is cut to fit, since nobody knows which rule to lose.
    """
    parent_by_id = {parent_rule.id: parent_rule for parent_rule in parent_rules.rules}
    drafted_rules: dict[str, PrincipleRule] = {}
    for rule_text, source_refs in zip(rule_texts, evidence, strict=True):
        # An optimiser may put several rules into one text; judges read each line as a rule.
        for rule_line in filter(None, map(_normalised_line, rule_text.splitlines())):
            fresh_rule = build_rule(rule_line, source_refs)
            # The parent's own record of the rule stays, or each rewriting would forget what older rules were
            # learnt from.
            drafted_rules.setdefault(fresh_rule.id, parent_by_id.get(fresh_rule.id, fresh_rule))
    rule_set = RuleSet(parent_rules.role, tuple(drafted_rules.values()))
    return RulesDraft(rule_set, _refusal_reason(parent_rules, rule_set))


def _refusal_reason(parent_rules: RuleSet, rule_set: RuleSet) -> DecisionReason | None:
    if not rule_set.rules:
        return DecisionReason.NO_RULES
    if len(rule_set.rules) > MAX_RULES:
        return DecisionReason.TOO_MANY
    if (
        any(len(rule_text) > MAX_RULE_CHARACTERS for rule_text in rule_set.texts)
        or sum(map(len, rule_set.texts)) > MAX_TOTAL_LENGTH
    ):
        return DecisionReason.TOO_LONG
    # Last: rules that cannot be used are refused for that, even where they are the parent's.
    return DecisionReason.UNCHANGED if rule_set.hash == parent_rules.hash else None


def list_rule_changes(old_texts: Sequence[str], new_texts: Sequence[str]) -> list[tuple[str, str]]:
    """What became of each rule: ("=", text), ("-", old) or ("+", new), in the order of reading."""
    text_changes: list[tuple[str, str]] = []
    matcher = difflib.SequenceMatcher(a=list(old_texts), b=list(new_texts), autojunk=False)
    for opcode, old_start, old_end, new_start, new_end in matcher.get_opcodes():
        if opcode == "equal":
            text_changes += [("=", rule_text) for rule_text in old_texts[old_start:old_end]]
        else:
            text_changes += [("-", rule_text) for rule_text in old_texts[old_start:old_end]]
            text_changes += [("+", rule_text) for rule_text in new_texts[new_start:new_end]]
    return text_changes


def _normalised_line(rule_line: str) -> str:
    """The rule as a judge will read it, however often it is read: on one line, without tags and numbers.

    Rules stand in prompts without a fence, and may have been inspired by hostile greetings.
    """
    plain_line, previous_line = " ".join(neutralise_text(normalize_text(rule_line)).split()), None
    # Taking away one mark may lay bare another (“1. 2. …”), and a judge that reads it again would then read
    # less.
    while plain_line != previous_line:
        previous_line = plain_line
        try:
            plain_line = parse_principles(plain_line)[0]
        except UserError:
            # A rule that is too long is kept whole, so that the draft is refused for it instead of losing it
            # unseen.
            return plain_line if len(plain_line) > MAX_RULE_CHARACTERS else ""
    return plain_line


@cache
def prompt_file(name: str) -> PromptTemplate:
    """The prompt template of an agent of the game, by the agent's name."""
    return load_template(name, PROMPTS_FOLDER)
