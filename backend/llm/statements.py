"""The one value that a text states: in a member of an object, behind a label, or as a bare reply.

A value counts only together with all that stands beside it. Agreement ("1（优秀）"), a reason and plain
praise leave it as it is; an open correction ("1，改为 0") replaces it; whatever else may take it back leaves
no value, with the reason.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import dropwhile
from typing import Any

from backend.llm import remarks
from backend.llm.fields import FieldSpec
from backend.llm.phrases import DeniedValue, InvalidValue, may_be_a_value, parse_phrase
from backend.llm.remarks import RemarkPlace

# A full stop before a figure is a decimal point, and in the clauses below "3/5" stays one.
_SENTENCE_END = re.compile(r"(?:[\n。！!？?;…]|\.(?![0-9]))[\s。！!？?;….)）」』”’\"]*")
_CLAUSE_END = re.compile(
    r"(?:->|=>|→|⇒|[,:=()\[\]（）【】{}|、—–→]|/(?! ?[0-9])|\s[-#]\s|(?<=[0-9])-(?=[^0-9\s])|//)\s*"
)
_ARROW_MARK = re.compile(r"->|=>|→|⇒")
_LIST_NUMBER = re.compile(r"^[.)、．]")
# Words that affirm the question as often as they are a value: a value that follows them is the value.
_AFFIRMATIONS = frozenset({"是", "是的", "对", "好的", "yes"})
_CONSENT_WORDS = re.compile(
    r"(?:好的?|好啊|行|可以|没问题|当然(?:可以)?|嗯|明白了?|收到|了解|是的?|对|不错|ok|okay|sure|yes|good|"
    r"great|certainly|of course"
    r"|got it|understood|absolutely|alright|right)"
)
_MERE_CONSENT_WORDS = re.compile(
    r"(?:好的|好啊|行|可以|没问题|当然(?:可以)?|嗯|明白了?|收到|了解|ok|okay|sure|certainly|of course|"
    r"got it|understood"
    r"|absolutely|alright|right|great|good question)"
)
_YES_WORDS = frozenset({"是", "是的", "对", "yes", "true"})
_NO_WORDS = frozenset({"否", "不", "不是", "no", "false", "not"})
_QUESTION_LEAD = re.compile(r"(?:这条|该|本条)?(?:祝福语?)?是否(?:为|属于|达到)?")
_LABEL_MARK = re.compile(r"[:=|?]")
_EDGE_MARKS = " ()[]【】,:、"
_QUOTE_MARKS = " \"'“”‘’「」『』"
# An object of its own, since every other thing may be a value.
_CORRECTION_FOLLOWS = object()
_FIRST_CLAUSE_END = re.compile(r"[,;。!()]|\.(?![0-9])")
_FIGURE_LIST = re.compile(r"\[[\s0-9.,\"'-]*\]")
# Of a sentence, and sentences of a text: each clause is matched against grammars, and no answer has as many.
_MOST_CLAUSES = 4_000


class StatementSource(StrEnum):
    """Where the text stands."""

    MEMBER = "member"
    LABEL = "label"
    BARE = "bare"


@dataclass(frozen=True)
class Clause:
    """One clause, the marks before and after it, and the numbers of its sentence and line."""

    text: str
    before: str
    after: str
    sentence_number: int
    line_number: int

    @property
    def is_question(self) -> bool:
        """Whether it is a question."""
        return "?" in self.after


def parse_statement(
    statement_text: str, field_spec: FieldSpec, statement_source: StatementSource
) -> Any | InvalidValue | None:
    """The value that a text of a member or behind a label states; the text is folded.

    None: it says nothing of the kind. Invalid: it says several values, or more than a value.
    """
    clauses = split_clauses(statement_text, field_spec)
    if not clauses:
        return None
    opening_value, clause_count = _opening_value(clauses, field_spec)
    if opening_value is None or isinstance(opening_value, InvalidValue):
        return opening_value
    if _begins_a_list(clauses[0], statement_text) or _is_signed(clauses[0]):
        return None
    if _trails_off(clauses[clause_count - 1]):
        return InvalidValue("unclear")
    return _FollowingClauses(
        field_spec, statement_source, RemarkPlace.LATER, clauses[clause_count - 1].sentence_number
    ).resolve_value(opening_value, clauses[clause_count:])


def parse_bare_statement(reply_text: str, field_spec: FieldSpec) -> Any | InvalidValue | None:
    """The value that a reply without objects and labels is, or begins with, or ends with; the text is folded.

    Consent before it ("好的，…") is no value. None and Invalid as in `parse_statement`.
    """
    all_clauses = split_clauses(reply_text, field_spec)
    # "好的，…" consents to the task; it was once read as a verdict of 1.
    clauses = list(dropwhile(lambda part: _MERE_CONSENT_WORDS.fullmatch(part.text), all_clauses))
    if not clauses and len(all_clauses) == 1:
        clauses = all_clauses
    if not clauses or (len(clauses) < len(all_clauses) and _is_mere_consent(clauses)):
        return None
    opening_value, clause_count = _opening_value(clauses, field_spec)
    if isinstance(opening_value, InvalidValue):
        return opening_value
    return (
        _value_at_end(clauses, field_spec)
        if opening_value is None
        else _value_at_start(clauses, opening_value, clause_count, field_spec)
    )


def value_after_remarks(
    following_text: str, stated_value: Any, field_spec: FieldSpec, remark_place: RemarkPlace
) -> Any | InvalidValue:
    """The value after all that the text behind it says: the same, the one of a correction, or Invalid."""
    return _FollowingClauses(field_spec, StatementSource.LABEL, remark_place, -1).resolve_value(
        stated_value, split_clauses(following_text, field_spec)
    )


def is_denied_in_reason(reason_text: str, stated_value: Any, field_spec: FieldSpec) -> bool:
    """Whether the lines of an explanation state another value: a whole line, or an open correction."""
    for reason_line in reason_text.split("\n"):
        corrected_text = remarks.text_after_correction(reason_line) or ""
        for clause_text in (reason_line, _FIRST_CLAUSE_END.split(corrected_text, maxsplit=1)[0]):
            other_value = _usable_value(clause_text.strip(" 。.!,)"), field_spec)
            if other_value is not None and other_value != stated_value:
                return True
    return False


def split_clauses(statement_text: str, field_spec: FieldSpec) -> list[Clause]:
    """The clauses of the text, none of a mere list of figures. A sentence that is a value as it stands
    ("甲、乙都好") stays whole."""
    if _FIGURE_LIST.fullmatch(statement_text.strip(" \n。.!")):
        return []
    all_clauses: list[Clause] = []
    line_number, position, marks_before = 0, 0, ""
    sentence_ends = [end_match.span() for end_match in _SENTENCE_END.finditer(statement_text)][:_MOST_CLAUSES]
    for sentence_number, (sentence_end, next_start) in enumerate(
        [*sentence_ends, (len(statement_text), len(statement_text))]
    ):
        sentence_text, closing_marks = (
            statement_text[position:sentence_end],
            statement_text[sentence_end:next_start],
        )
        sentence_clauses = _sentence_clauses(
            sentence_text, marks_before, closing_marks, field_spec, (sentence_number, line_number)
        )
        if (
            all_clauses
            and "\n" in marks_before
            and sentence_clauses
            and _numbers_a_line(sentence_clauses[0], statement_text[next_start : next_start + 1])
        ):
            del sentence_clauses[0]
        all_clauses += sentence_clauses
        marks_before = closing_marks if sentence_clauses else marks_before + closing_marks
        line_number += closing_marks.count("\n")
        position = next_start
    return all_clauses


def _sentence_clauses(
    sentence_text: str,
    marks_before: str,
    closing_marks: str,
    field_spec: FieldSpec,
    sentence_place: tuple[int, int],
) -> list[Clause]:
    whole_sentence = sentence_text.strip(_EDGE_MARKS)
    if not _ARROW_MARK.search(whole_sentence) and parse_phrase(whole_sentence, field_spec) is not None:
        return [
            Clause(
                whole_sentence,
                marks_before,
                sentence_text[len(sentence_text.rstrip(_EDGE_MARKS)) :] + closing_marks,
                *sentence_place,
            )
        ]
    clauses: list[Clause] = []
    position = 0
    clause_ends = [end_match.span() for end_match in _CLAUSE_END.finditer(sentence_text)][:_MOST_CLAUSES]
    for clause_end, next_start in [*clause_ends, (len(sentence_text), len(sentence_text))]:
        clause_text = sentence_text[position:clause_end].strip(_QUOTE_MARKS)
        marks_after = sentence_text[clause_end:next_start] or closing_marks
        if clause_text:
            clauses.append(Clause(clause_text, marks_before, marks_after, *sentence_place))
        marks_before = marks_after if clause_text else marks_before + marks_after
        position = next_start
    return clauses


def _is_signed(clause: Clause) -> bool:
    """Whether a mark before the first figure makes another value of it ("!1")."""
    return clause.text[:1].isdigit() and re.search(r"[!.]", clause.before) is not None


def _trails_off(clause: Clause) -> bool:
    """Whether the value is followed by an ellipsis: then it was not all."""
    return "…" in clause.after or ".." in clause.after


def _numbers_a_line(clause: Clause, following_text: str) -> bool:
    """Whether the first clause of a line is its number in a list ("1. …", "2、…")."""
    return clause.text.isdigit() and _LIST_NUMBER.match(clause.after) is not None and following_text not in ("", "\n")


def _usable_value(clause_text: str, field_spec: FieldSpec) -> Any | None:
    """The clause's value where it has one that can be used."""
    phrase_value = parse_phrase(clause_text, field_spec)
    return None if isinstance(phrase_value, DeniedValue | InvalidValue) else phrase_value


def _opening_value(clauses: Sequence[Clause], field_spec: FieldSpec) -> tuple[Any | InvalidValue | None, int]:
    """The value that the parts begin with, and how many of them that took."""
    first_clause, second_clause = clauses[0], clauses[1] if len(clauses) > 1 else None
    if first_clause.is_question or (second_clause and _QUESTION_LEAD.match(first_clause.text)):
        return _answered_value(clauses, field_spec)
    phrase_value = parse_phrase(first_clause.text, field_spec)
    later_value = (
        _usable_value(second_clause.text, field_spec) if second_clause and not second_clause.is_question else None
    )
    if isinstance(phrase_value, DeniedValue):
        return (None, 0) if later_value in (None, phrase_value.value) else (later_value, 2)
    if (
        first_clause.text in _AFFIRMATIONS
        and second_clause
        and later_value is not None
        and _continues_value(second_clause)
    ):
        return later_value, 2
    return phrase_value, 1


def _continues_value(clause: Clause) -> bool:
    """Whether a part after "是" says the value itself."""
    return clause.before.strip() in (",", ":") and clause.text not in _YES_WORDS | _NO_WORDS


def _answered_value(clauses: Sequence[Clause], field_spec: FieldSpec) -> tuple[Any | None, int]:
    """The value of a question with its answer ("优秀？不", "是否合格：否", "A? No, B")."""
    if len(clauses) < 2 or clauses[1].is_question:
        return None, 0
    question_value, answer_text = (
        _usable_value(_QUESTION_LEAD.sub("", clauses[0].text, count=1), field_spec),
        clauses[1].text,
    )
    if question_value is None:
        return None, 0  # "情感如何？好" answers another question
    if answer_text not in _YES_WORDS | _NO_WORDS:
        phrase_value = _usable_value(answer_text, field_spec)
        return (None, 0) if phrase_value is None else (phrase_value, 2)
    if field_spec.is_praise(question_value):
        return (question_value if answer_text in _YES_WORDS else field_spec.opposite_values[question_value]), 2
    if field_spec.tie_value is None or answer_text in _YES_WORDS or len(clauses) < 3:
        return None, 0  # "差？否" may deny the question or give the verdict
    other_value = _usable_value(clauses[2].text, field_spec)
    return (None, 0) if other_value in (None, question_value) else (other_value, 3)


@dataclass(frozen=True)
class _FollowingClauses:
    """What stands behind a value: `sentence_number` is the value's own, `remark_place` where other sentences are."""

    field_spec: FieldSpec
    statement_source: StatementSource
    remark_place: RemarkPlace
    sentence_number: int

    def resolve_value(self, current_value: Any, clauses: Sequence[Clause]) -> Any | InvalidValue:
        """The value after all parts, one by one: kept, corrected, or Invalid."""
        awaits_correction = False
        for clause_index, clause in enumerate(clauses):
            if clause_index == 0 and self._in_same_sentence(clause) and _may_join_figures(clause):
                return InvalidValue("unclear")
            if not awaits_correction and self._belongs_to_other_label(
                clause, clauses[clause_index - 1] if clause_index else None
            ):
                continue
            next_clause = clauses[clause_index + 1] if clause_index + 1 < len(clauses) else None
            next_value = (
                self._corrected_value(clause)
                if awaits_correction
                else self._value_after_clause(clause, current_value, next_clause)
            )
            if isinstance(next_value, InvalidValue):
                return next_value
            awaits_correction = next_value is _CORRECTION_FOLLOWS
            current_value = current_value if awaits_correction else next_value
        return InvalidValue("unclear") if awaits_correction else current_value

    def _in_same_sentence(self, clause: Clause) -> bool:
        return clause.sentence_number == self.sentence_number

    def _belongs_to_other_label(self, clause: Clause, previous_clause: Clause | None) -> bool:
        """Whether the part is the value of another label in another sentence ("置信度：0.9")."""
        if (
            previous_clause is None
            or self._in_same_sentence(clause)
            or previous_clause.sentence_number != clause.sentence_number
        ):
            return False
        return clause.before.strip() in (":", "=") and not remarks.restates_value(previous_clause.text)

    def _corrected_value(self, clause: Clause) -> Any | InvalidValue:
        later_value = None if clause.is_question else _usable_value(clause.text, self.field_spec)
        return InvalidValue("unclear") if later_value is None else later_value

    def _value_after_clause(self, clause: Clause, current_value: Any, next_clause: Clause | None) -> Any | InvalidValue:
        """The value after one part; `_CORRECTION_FOLLOWS` where it announces a correction that follows."""
        phrase_value, field_spec = _usable_value(clause.text, self.field_spec), self.field_spec
        if clause.is_question:
            return (
                InvalidValue("unclear") if self._in_same_sentence(clause) or phrase_value is not None else current_value
            )
        if _ARROW_MARK.search(clause.before):
            return (
                phrase_value
                if phrase_value is not None and self.statement_source is StatementSource.LABEL
                else InvalidValue("unclear")
            )
        if phrase_value is not None and phrase_value == current_value:
            return current_value
        corrected_text = remarks.text_after_correction(clause.text)
        if corrected_text is not None:
            later_value = _usable_value(corrected_text, field_spec)
            if later_value is not None or not corrected_text:
                return _CORRECTION_FOLLOWS if later_value is None else later_value
            if self._in_same_sentence(clause) or may_be_a_value(corrected_text, field_spec):
                return InvalidValue("unclear")
        if self._heads_a_remark(clause, next_clause):
            return current_value
        if phrase_value is not None or isinstance(parse_phrase(clause.text, field_spec), InvalidValue):
            return current_value if self._is_conceded(clause, next_clause) else InvalidValue("conflicting")
        return InvalidValue("unclear") if self._is_overturned(clause, current_value) else current_value

    def _heads_a_remark(self, clause: Clause, next_clause: Clause | None) -> bool:
        """Whether a side only heads a sentence about it ("乙：略空泛")."""
        if self.field_spec.tie_value is None or self._in_same_sentence(clause) or next_clause is None:
            return False
        return clause.after.strip() == ":" and not remarks.may_prefer(next_clause.text)

    def _is_conceded(self, clause: Clause, next_clause: Clause | None) -> bool:
        """Whether another sentence grants this ("很好，但…") only to go on against it."""
        continues = next_clause is not None and next_clause.sentence_number == clause.sentence_number
        return (
            not self._in_same_sentence(clause)
            and continues
            and next_clause is not None
            and remarks.is_concession(next_clause.text)
        )

    def _is_overturned(self, clause: Clause, current_value: Any) -> bool:
        if (
            self._in_same_sentence(clause)
            and (scale_differs := remarks.is_other_scale(clause.text, self.field_spec)) is not None
        ):
            return scale_differs
        if clause.text == "差一点" and self.statement_source is not StatementSource.BARE:
            return False
        return remarks.overturns_value(
            clause.text,
            current_value,
            self.field_spec,
            RemarkPlace.SENTENCE if self._in_same_sentence(clause) else self.remark_place,
        )


def _begins_a_list(clause: Clause, statement_text: str) -> bool:
    """Whether the first figure numbers a line, and the next one follows on another line."""
    if not clause.text.isdigit() or not _LIST_NUMBER.match(clause.after):
        return False
    return re.search(rf"^[ *]*{int(clause.text) + 1} ?[.)、]", statement_text, re.M) is not None


def _may_join_figures(clause: Clause) -> bool:
    """Whether the mark between value and part may stand within one number ("2,5", "1:0")."""
    return bool(re.match(r"[0-9]", clause.text)) and bool(re.fullmatch(r"[,:/|\-–—.、= ]+", clause.before))


def _is_mere_consent(clauses: Sequence[Clause]) -> bool:
    return len(clauses) == 1 and _CONSENT_WORDS.fullmatch(clauses[0].text) is not None


def _value_at_start(
    clauses: Sequence[Clause], opening_value: Any, clause_count: int, field_spec: FieldSpec
) -> Any | InvalidValue | None:
    """A bare reply that begins with its value."""
    last_clause, remaining_clauses = clauses[clause_count - 1], clauses[clause_count:]
    if _is_signed(clauses[0]) or (
        remaining_clauses and last_clause.text.isdigit() and _LIST_NUMBER.match(remaining_clauses[0].before)
    ):
        return None
    if _trails_off(last_clause):
        return InvalidValue("unclear")
    if not remaining_clauses and last_clause.after.strip().startswith(":"):
        return None  # a heading, and nothing below it
    settled_value = _FollowingClauses(
        field_spec, StatementSource.BARE, RemarkPlace.LATER, last_clause.sentence_number
    ).resolve_value(opening_value, remaining_clauses)
    if (
        remaining_clauses
        and settled_value == opening_value
        and clause_count == 1
        and _CONSENT_WORDS.fullmatch(last_clause.text)
    ):
        is_plain = all(
            _usable_value(clause.text, field_spec) == opening_value or remarks.is_mere_praise(clause.text)
            for clause in remaining_clauses
        )
        return opening_value if is_plain else None
    return settled_value


def _value_at_end(clauses: Sequence[Clause], field_spec: FieldSpec) -> Any | InvalidValue | None:
    """A bare reply that ends with its value, or whose value has a line to itself."""
    clauses_per_line = Counter(clause.line_number for clause in clauses)
    for clause_index, clause in enumerate(clauses):
        stands_alone = clause_index == len(clauses) - 1 or (
            clause_index > 0 and clauses_per_line[clause.line_number] == 1
        )
        clause_value = _usable_value(clause.text, field_spec) if stands_alone and not clause.is_question else None
        if clause_value is None or (clause_index > 0 and _LABEL_MARK.search(clause.before)):
            continue
        earlier_clauses = clauses[:clause_index]
        if not all(
            _is_harmless_before(
                earlier_clause, clause_value, field_spec, earlier_clause.line_number == clause.line_number
            )
            for earlier_clause in earlier_clauses
        ):
            return None
        return _FollowingClauses(
            field_spec, StatementSource.BARE, RemarkPlace.LATER, clause.sentence_number
        ).resolve_value(clause_value, clauses[clause_index + 1 :])
    return None


def _is_harmless_before(clause: Clause, stated_value: Any, field_spec: FieldSpec, same_line: bool) -> bool:
    phrase_value = parse_phrase(clause.text, field_spec)
    if clause.is_question or remarks.is_mention(clause.text) or remarks.is_hearsay(clause.text):
        return False
    if phrase_value is not None:
        return bool(phrase_value == stated_value)
    if field_spec.is_praise(stated_value) and same_line:
        return remarks.is_mere_praise(clause.text)
    return not remarks.overturns_value(clause.text, stated_value, field_spec, RemarkPlace.OBJECT)
