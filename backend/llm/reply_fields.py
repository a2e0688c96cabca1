"""One reply taken apart: its own objects, its labels, and its prose with everything quoted blanked."""

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from backend.llm import remarks
from backend.llm.fields import EXPLANATION_ALIASES, FieldKind, FieldSpec
from backend.llm.loose_json import LooseObject, objects
from backend.llm.member_values import coerce_value, has_member, member_value
from backend.llm.phrases import InvalidValue, fold_text, to_plain_width
from backend.llm.quotations import (
    TextSpan,
    blank_spans,
    code_block_spans,
    contains_span,
    quotation_spans,
    struck_out_spans,
)
from backend.llm.remarks import RemarkPlace
from backend.llm.statements import (
    StatementSource,
    is_denied_in_reason,
    parse_bare_statement,
    parse_statement,
    value_after_remarks,
)

_TEXT_KINDS = (FieldKind.TEXT, FieldKind.TEXTS)
_WRAPPING_MARKS = " \t\n*_`#>\"'“”‘’「」『』()（）【】[]~·-—.。!！"
_SENTENCE_START = re.compile(r"[。！!？?;\n]")
_TABLE_ROW = re.compile(r"^([ ]*)\|([^|\n]+)\|([^|\n]+)\|([^\n]*)$", re.M)
_FENCE_LINE = re.compile(r"^ *```[^\n]*$", re.M)
_SOURCE_ANNOUNCEMENT = re.compile(r"(?:原文|原祝福|祝福语?|输入|请求|引用|original|input|greeting|quoted)[^\n]{0,6}$")
_REASON_SECTIONS = (
    *EXPLANATION_ALIASES,
    "分析",
    "点评",
    "评析",
    "依据",
    "rationale",
    "analysis",
    "comment",
    "comments",
)
_DENIAL_WORDS = re.compile(r"[不没未无非难勿]")
_DENIAL_WORDS_EN = re.compile(r"\b(?:no|not|cannot|can't|without|another|opposite|other|wrong)\b[^.,\n]{0,20}$")
_LABEL_LEAD = re.compile(
    r"(?:我的?|最终|最后|综合|总体|整体|总|则|故|后|此|出|本条|本次|初步|初始|为|是|以下|因此|所以|作|下|语|条|出的|的最终|正确|其|并|再|新)$"
)
_CHINESE_WORD = re.compile(r"[\u4e00-\u9fff]{1,12}$")
# Labels of one field in a reply; a reply that has more is a model that repeats itself.
MOST_LABELS = 500
# Characters beside a label or an object that are looked at: bounded, so that many labels stay cheap.
_WINDOW_BEFORE, _WINDOW_AFTER = 80, 40


@dataclass(frozen=True)
class _FieldMention:
    """One value that the reply gives a field (None: the mention states nothing), and where."""

    value: Any | InvalidValue | None
    start: int
    end: int
    # Whether it stands in an object.
    in_object: bool
    # Whether a field's own name and a colon announce it.
    is_announced: bool = True


class ReplyReader:
    """A reply without its thinking. Positions are the same in `body_text` and `folded_prose`."""

    def __init__(self, body_text: str, field_specs: Sequence[FieldSpec], is_truncated: bool) -> None:
        self.is_truncated = is_truncated
        self.field_specs = field_specs
        self.body_text = blank_spans(body_text, struck_out_spans(body_text))
        # Objects before quotations: the marks within an object belong to its strings.
        all_objects = objects(self.body_text)
        object_spans = [(json_object.start, json_object.end) for json_object in all_objects]
        quoted_spans = quotation_spans(self.body_text, object_spans)
        prose = to_plain_width(blank_spans(self.body_text, [*object_spans, *quoted_spans]))
        # Most models put their answer into a code block too; only one that is announced as the source is a
        # quotation.
        quoted_spans += [code_block for code_block in code_block_spans(prose) if _quotes_its_source(prose, code_block)]
        prose = blank_spans(
            prose, [*quoted_spans, *(pattern_match.span() for pattern_match in _FENCE_LINE.finditer(prose))]
        )
        self.folded_prose = fold_text(_TABLE_ROW.sub(_labelled_row, prose))
        unquoted_objects = [
            json_object
            for json_object in all_objects
            if not contains_span(quoted_spans, (json_object.start, json_object.end))
        ]
        self.own_objects = [json_object for json_object in unquoted_objects if not self._is_only_mentioned(json_object)]
        label_names = {
            label_name for field_spec in field_specs for label_name in (*field_spec.all_names, *field_spec.weak_names)
        } | set(_REASON_SECTIONS)
        self._text_starts = sorted(
            [
                pattern_match.start()
                for pattern_match in _label_pattern(tuple(sorted(label_names))).finditer(self.folded_prose)
            ]
            + [json_object.start for json_object in all_objects]
        )
        anchor_field = next(field_spec for field_spec in field_specs if field_spec.required)
        # Texts are taken from the object that holds the verdict, so that no explanation stands beside a
        # verdict of another.
        self._anchor_object = next(
            (
                json_object
                for json_object in reversed(self._believed_objects())
                if _has_field(json_object, anchor_field)
            ),
            None,
        )

    def read_field(self, field_spec: FieldSpec) -> Any | InvalidValue | None:
        """The field's value from objects, labels, or plain words; None where it is not there."""
        if field_spec.kind in _TEXT_KINDS:
            text_value = (
                member_value(self._anchor_object, field_spec.all_names, field_spec) if self._anchor_object else None
            )
            return self._labelled_text(field_spec) if text_value is None else text_value
        field_mentions = self._field_mentions(field_spec)
        if any(field_mention.value is not None for field_mention in field_mentions):
            return self._agreed_value(field_spec, field_mentions)
        is_unannounced = (
            not self.own_objects
            and not self.is_truncated
            and not any(field_mention.is_announced for field_mention in field_mentions)
        )
        return self._bare_value(field_spec) if is_unannounced else None

    def _believed_objects(self) -> list[LooseObject]:
        """The objects that count: of a reply that was cut off only one that reaches its end."""
        body_end = len(self.body_text.rstrip("`\n "))
        return [json_object for json_object in self.own_objects if not self.is_truncated or json_object.end >= body_end]

    def _field_mentions(self, field_spec: FieldSpec) -> list[_FieldMention]:
        """Every value of the field, in order. A weaker name counts only where no better one is used; then
        it may still disagree, in an object and on the same scale."""
        strong_mentions = self._named_mentions(field_spec, field_spec.all_names, is_own_name=True)
        weak_mentions = self._named_mentions(field_spec, field_spec.weak_names, is_own_name=False)
        if not any(field_mention.value is not None for field_mention in strong_mentions):
            return (
                weak_mentions
                if any(field_mention.value is not None for field_mention in weak_mentions)
                else [*strong_mentions, *weak_mentions]
            )
        doubtful_mentions = [
            field_mention
            for field_mention in weak_mentions
            if field_mention.in_object
            and field_mention.value is not None
            and not isinstance(field_mention.value, InvalidValue)
        ]
        return sorted([*strong_mentions, *doubtful_mentions], key=lambda field_mention: field_mention.start)

    def _named_mentions(
        self, field_spec: FieldSpec, field_names: Sequence[str], *, is_own_name: bool
    ) -> list[_FieldMention]:
        object_mentions = [
            _FieldMention(member_value(occurrence, field_names, field_spec), occurrence.start, occurrence.end, True)
            for occurrence in self._believed_objects()
            if has_member(occurrence, field_names)
        ]
        return sorted(
            [*object_mentions, *self._labelled_mentions(field_spec, field_names, is_own_name)],
            key=lambda occurrence: occurrence.start,
        )

    def _labelled_mentions(
        self, field_spec: FieldSpec, field_names: Sequence[str], is_own_name: bool
    ) -> Iterator[_FieldMention]:
        label_matches = list(_label_pattern(tuple(field_names)).finditer(self.folded_prose))
        if len(label_matches) > MOST_LABELS:
            yield _FieldMention(InvalidValue("unclear"), label_matches[-1].start(), label_matches[-1].end(), True)
            return
        for label_match in label_matches:
            if self._is_about_source(label_match, field_spec) or (
                self.is_truncated and not self._ends_its_line(label_match)
            ):
                continue
            labelled_text = self.folded_prose[label_match.end() : self._text_boundary(label_match.end())]
            field_value = parse_statement(labelled_text, field_spec, StatementSource.LABEL)
            is_announced = (
                is_own_name and label_match["mark"] in (":", "=") and bool(labelled_text.strip(_WRAPPING_MARKS))
            )
            if field_value is None and is_announced and not re.search(r"[0-9]", labelled_text):
                # An announced field whose words are no value must not be passed over for a bare word further
                # down.
                field_value = InvalidValue("unclear")
            yield _FieldMention(field_value, label_match.start(), label_match.end(), False, is_announced)

    def _text_boundary(self, text_start: int) -> int:
        """Where the text behind a label ends: at the next label or object."""
        start_index = bisect_left(self._text_starts, text_start)
        return self._text_starts[start_index] if start_index < len(self._text_starts) else len(self.folded_prose)

    def _is_about_source(self, label_match: re.Match[str], field_spec: FieldSpec) -> bool:
        """Whether the label stands in a sentence about the judged text, or names one aspect of it."""
        preceding_text = self._sentence_before(label_match.start())
        if remarks.is_mention(preceding_text):
            return True
        preceding_word = _CHINESE_WORD.search(preceding_text.rstrip("*_`\"'“「【["))
        if _DENIAL_WORDS.search(preceding_word.group()) if preceding_word else _DENIAL_WORDS_EN.search(preceding_text):
            return True
        return (
            field_spec.kind is FieldKind.CHOICE
            and preceding_word is not None
            and _LABEL_LEAD.search(preceding_word.group()) is None
        )

    def _sentence_before(self, position: int) -> str:
        window = self.folded_prose[max(0, position - _WINDOW_BEFORE) : position]
        sentence_starts = [start_match.end() for start_match in _SENTENCE_START.finditer(window)]
        sentence = window[sentence_starts[-1] :] if sentence_starts else window
        if sentence.strip() or not window.rstrip().endswith(":"):
            return sentence
        return window.rstrip().rpartition("\n")[2]

    def _is_only_mentioned(self, json_object: LooseObject) -> bool:
        """Whether the reply only speaks of this object: as an example, or as a part of the judged text."""
        following_text = self.folded_prose[json_object.end : json_object.end + _WINDOW_AFTER]
        return remarks.is_mention(self._sentence_before(json_object.start)) or remarks.called_an_example(following_text)

    def _ends_its_line(self, label_match: re.Match[str]) -> bool:
        line_start = self.folded_prose.rfind("\n", 0, label_match.start()) + 1
        return (
            not self.folded_prose[line_start : label_match.start()].strip(_WRAPPING_MARKS)
            and "\n" in self.folded_prose[label_match.end() :]
        )

    def _agreed_value(self, field_spec: FieldSpec, field_mentions: Sequence[_FieldMention]) -> Any | InvalidValue:
        """The value on which all agree, or the last of open corrections."""
        valued_mentions = [field_mention for field_mention in field_mentions if field_mention.value is not None]
        decided_mention = valued_mentions[0]
        for field_mention in valued_mentions[1:]:
            is_same = field_mention.value == decided_mention.value
            is_replaced = isinstance(decided_mention.value, InvalidValue) and not decided_mention.in_object
            if (
                is_same
                or is_replaced
                or remarks.corrects_between(self.folded_prose[decided_mention.end : field_mention.start])
            ):
                decided_mention = field_mention
            elif isinstance(field_mention.value, InvalidValue):
                return field_mention.value
            else:
                return (
                    decided_mention.value
                    if isinstance(decided_mention.value, InvalidValue)
                    else InvalidValue("conflicting")
                )
        return self._confirmed_value(decided_mention, field_spec)

    def _confirmed_value(self, decided_mention: _FieldMention, field_spec: FieldSpec) -> Any | InvalidValue:
        field_value = decided_mention.value
        if isinstance(field_value, InvalidValue):
            return field_value
        if decided_mention.in_object:
            following_text = self.folded_prose[decided_mention.end : self._text_boundary(decided_mention.end)]
            if following_text.lstrip(" `\n").startswith(("?", "吗")):
                return InvalidValue("unclear")
            field_value = value_after_remarks(following_text, field_value, field_spec, RemarkPlace.OBJECT)
        return (
            field_value
            if isinstance(field_value, InvalidValue)
            else self._unless_the_reason_denies(field_value, field_spec)
        )

    def _unless_the_reason_denies(self, field_value: Any, field_spec: FieldSpec) -> Any | InvalidValue:
        for section_match in _label_pattern(_REASON_SECTIONS).finditer(self.folded_prose):
            reason_text = self.folded_prose[section_match.end() : self._text_boundary(section_match.end())]
            if is_denied_in_reason(reason_text, field_value, field_spec):
                return InvalidValue("conflicting")
        return field_value

    def _labelled_text(self, field_spec: FieldSpec) -> Any | None:
        label_matches = list(_label_pattern(field_spec.all_names).finditer(self.folded_prose))
        if not label_matches:
            return None
        text_start = label_matches[-1].end()
        later_starts = [
            label_match.start()
            for other_field in self.field_specs
            for label_match in _label_pattern(other_field.all_names).finditer(self.folded_prose, text_start)
        ]
        labelled_text = self.body_text[text_start : min(later_starts, default=len(self.body_text))].strip(" \n*`，,;；")
        return coerce_value(labelled_text, field_spec)

    def _bare_value(self, field_spec: FieldSpec) -> Any | InvalidValue | None:
        """A plain word answers only a question about one thing."""
        required_fields = [
            candidate for candidate in self.field_specs if candidate.required and candidate.kind not in _TEXT_KINDS
        ]
        if required_fields != [field_spec]:
            return None
        reason_spans = [
            (section_match.start(), self._text_boundary(section_match.end()))
            for section_match in _label_pattern(_REASON_SECTIONS).finditer(self.folded_prose)
        ]
        bare_value = parse_bare_statement(blank_spans(self.folded_prose, reason_spans), field_spec)
        is_usable = bare_value is not None and not isinstance(bare_value, InvalidValue)
        return self._unless_the_reason_denies(bare_value, field_spec) if is_usable else bare_value


def _has_field(json_object: LooseObject, field_spec: FieldSpec) -> bool:
    return has_member(json_object, field_spec.all_names) or has_member(json_object, field_spec.weak_names)


def _quotes_its_source(prose: str, code_block: TextSpan) -> bool:
    """Whether the line before a code block says that the block holds the text under judgement."""
    preceding_line = (
        prose[max(0, code_block[0] - _WINDOW_BEFORE) : code_block[0]].rstrip(" \n").rpartition("\n")[2].strip(" *:：")
    )
    return bool(preceding_line) and (
        remarks.is_mention(preceding_line) or _SOURCE_ANNOUNCEMENT.search(preceding_line) is not None
    )


def _labelled_row(table_row: re.Match[str]) -> str:
    """A row of a table as a label with its value, of the same length."""
    return f"{table_row[1]} {table_row[2]}:{table_row[3]} {table_row[4]}"


@lru_cache(maxsize=256)
def _label_pattern(label_names: tuple[str, ...]) -> re.Pattern[str]:
    any_label = (
        "|".join(re.escape(fold_text(label_name)) for label_name in sorted(label_names, key=len, reverse=True))
        or r"(?!)"
    )
    decoration = r"[\"'“”*`_】\]\s]{0,6}"
    return re.compile(
        rf"(?<![a-z_])(?:{any_label})(?:结果)?(?: ?\((?:[-0-9/,或至到~ ]|or){{1,12}}\))?{decoration}"
        rf"(?P<mark>[:=]|应(?:该|当)?[为是]|为(?!什么|何|止|了)|是(?!否|不是)|\bis\b|(?=\s\d)|(?<=】))[\"'“”*`_\s]{{0,6}}"
    )
