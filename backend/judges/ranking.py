"""The judge that ranks: one call puts the greetings for one request in order, under at most ten rules.

Its values say how greetings of one request stand to each other and nothing about other requests. A group is judged in
one call, or, where it is long, in several that overlap (see `plan_calls`); all calls of all groups run at once.
"""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from math import ceil
from statistics import fmean

from backend.core.enums import Scale
from backend.core.text import digest, strip_white_space
from backend.judges.asking import (
    ItemJudge,
    JudgeModel,
    answer_details,
    failure_reason,
    prompt_template,
    sent_text,
    shorten_text,
    untrusted_request,
)
from backend.judges.base import (
    EMPTY_GREETING,
    Judgment,
    PairJudgment,
    PairOutcome,
    PairSample,
    Sample,
    unscored_judgment,
    version_of,
)
from backend.judges.criteria import numbered_rules
from backend.judges.label_order import (
    LABELS,
    LabelOrder,
    count_flips,
    find_label_chain,
    place_values,
    read_label_order,
)
from backend.llm.ask import ParsedReply, ParseFailure, StructuredAnswer, ask_for_fields
from backend.llm.fields import explanation_field, reply_instruction, text_list_field
from backend.llm.messages import ChatMessage
from backend.llm.prompts import UntrustedText
from backend.llm.quotations import without_thoughts

# Part of the version: raise it when orders are read, combined or valued differently.
RANKING_RULE = 1
# More than twenty are badly kept apart by language models; beyond 26 there are no letters left.
USUAL_PER_CALL, LEAST_PER_CALL, MOST_PER_CALL = 20, 3, len(LABELS)
# Characters of greetings in one call: some 12,000 tokens at most, which a context of 16,000 holds.
CALL_CHARACTERS = 12_000
RANKING_FIELDS = (
    explanation_field(hint="两三句话的理由，点出拉开差距的地方"),
    text_list_field(
        "order",
        "排序",
        "顺序",
        "排名",
        "名次",
        "排列",
        "ranking",
        "rank",
        "ranks",
        "sorted",
        hint="从最好到最差的全部标号，一个标号一项；并列的写在同一项里，用等号连接",
    ),
)
ONLY_ONE = "这个请求只有一条祝福语，无从排序"
LEFT_OUT = "排序中没有列出这一条"
REPEATED = "排序中把这一条列了不止一次"
ALL_EQUAL = "几条祝福语文字相同，不分先后"


@dataclass(frozen=True)
class ShownGreetings:
    """One call: greetings of one request in the order in which they are shown. The first bears the first label."""

    prompt: str
    texts: tuple[str, ...]

    @property
    def labels(self) -> str:
        """One letter a greeting."""
        return LABELS[: len(self.texts)]

    @property
    def reversed(self) -> "ShownGreetings":
        """The same in the opposite order."""
        return ShownGreetings(self.prompt, self.texts[::-1])


@dataclass(frozen=True)
class CallVerdict:
    """What one call gave: an order of the labels, or none and the reason."""

    order: LabelOrder | None
    reason: str
    answer: StructuredAnswer | None = None


@dataclass(frozen=True)
class RankingGroup:
    """The greetings of one request that are ranked together, in the order of the batch.

    Equal texts are shown once and share one place. Empty ones are not ranked.
    """

    prompt: str
    greetings: tuple[str, ...]

    @classmethod
    def of_pair(cls, pair: PairSample) -> "RankingGroup":
        """Two greetings."""
        return cls(pair.prompt, (pair.first_greeting, pair.second_greeting))

    @cached_property
    def copies(self) -> Counter[str]:
        """The texts to rank, without white space, and how many greetings have each."""
        return Counter(key for greeting_text in self.greetings if (key := strip_white_space(greeting_text)))

    @cached_property
    def shown_texts(self) -> dict[str, str]:
        """Each text to rank as it is shown: as the first greeting has it."""
        return {strip_white_space(greeting_text): greeting_text for greeting_text in reversed(self.greetings)}


def plan_calls(group: RankingGroup, per_call: int, variant: str = "") -> list[ShownGreetings]:
    """The calls that rank a group; none where fewer than two texts differ.

    The order is drawn from the texts, so that the same set is asked for in the same words whatever its order in the
    batch. Up to `per_call` greetings of `CALL_CHARACTERS` characters together are one call. More are laid in a circle
    and cut into windows, as few as let each greeting stand in two. A window holds `per_call` at most, fewer (but 3)
    where so many of the longest greeting would be more characters. So n greetings take about 2n / `per_call` calls.
    """
    keys = sorted(group.copies)
    if len(keys) < 2:
        return []
    random.Random(digest(variant, group.prompt, *keys)).shuffle(keys)
    texts = [group.shown_texts[key] for key in keys]
    lengths = [len(shorten_text(shown_text)) for shown_text in texts]
    if len(texts) <= per_call and sum(lengths) <= CALL_CHARACTERS:
        return [ShownGreetings(group.prompt, tuple(texts))]
    largest_window = min(per_call, max(LEAST_PER_CALL, CALL_CHARACTERS // max(lengths)))
    window_count = ceil(2 * len(texts) / largest_window)
    window_size = ceil(2 * len(texts) / window_count)
    window_starts = [window_index * len(texts) // window_count for window_index in range(window_count)]
    circle = texts + texts
    return [ShownGreetings(group.prompt, tuple(circle[start : start + window_size])) for start in window_starts]


@dataclass(frozen=True)
class RankingJudge:
    """Values 1 (best of its request) to 0: mid-ranks over the greetings that were ranked, scaled.

    With `both_orders` every call is made a second time in the reversed order; a greeting then has the mean of both, and
    none where one of them leaves it out. `details` count the pairs that the two orders put the opposite way (`flips`).
    """

    model: JudgeModel
    rules: tuple[str, ...]
    both_orders: bool = False
    per_call: int = USUAL_PER_CALL
    name: str = "ranking"
    scale: Scale = Scale.SCORE

    @cached_property
    def version(self) -> str:
        """Hash of model, prompt, rules and the way of asking."""
        return version_of(
            {
                "judge": "ranking",
                "prompt": prompt_template("ranking").template_hash,
                "asked": reply_instruction(RANKING_FIELDS),
                "model": self.model.identity,
                "principles": self.rules,
                "both_orders": self.both_orders,
                "per_call": self.per_call,
                "rule": RANKING_RULE,
            }
        )

    def preview(self, group: RankingGroup) -> list[str]:
        """What would be sent for this group, call by call."""
        caller = _RankingCaller(self.model, self.rules)
        return [sent_text(caller.build_message(call), RANKING_FIELDS) for call in self._planned_calls(group)]

    async def score(self, samples: Sequence[Sample]) -> list[Judgment]:
        """One judgment per sample, in order. Greetings of one request in this batch are ranked together.

        So a batch must hold whatever is to be ranked together; a request with one greeting is unscored.
        """
        rows_by_prompt: dict[str, list[int]] = {}
        for row_number, sample in enumerate(samples):
            rows_by_prompt.setdefault(sample.prompt, []).append(row_number)
        groups = [
            RankingGroup(prompt_text, tuple(samples[row_number].greeting for row_number in row_numbers))
            for prompt_text, row_numbers in rows_by_prompt.items()
        ]
        judgment_by_row: dict[int, Judgment] = {}
        for row_numbers, judgments in zip(rows_by_prompt.values(), await self.rank_groups(groups), strict=True):
            judgment_by_row |= dict(zip(row_numbers, judgments, strict=True))
        return [judgment_by_row[row_number] for row_number in range(len(samples))]

    async def rank_groups(self, groups: Sequence[RankingGroup]) -> list[list[Judgment]]:
        """One judgment per greeting of each group. Raises LLMError only where it ends the whole run."""
        calls_by_group = [self._planned_calls(group) for group in groups]
        caller = _RankingCaller(self.model, self.rules)
        verdicts = iter(await caller.score([call for calls in calls_by_group for call in calls]))
        return [
            _GroupValues(group, [(call, next(verdicts)) for call in calls], self.both_orders).judgments()
            for group, calls in zip(groups, calls_by_group, strict=True)
        ]

    async def compare(self, pair: PairSample) -> PairJudgment:
        """Which of two greetings ranks higher. Raises LLMError as `rank_groups` does."""
        first, second = (await self.rank_groups([RankingGroup.of_pair(pair)]))[0]
        details = first.details or {}
        if first.value is None or second.value is None:
            unscored_reason = first.reason if first.value is None else second.reason
            return PairJudgment(None, False, (unscored_reason,), details)
        outcome = PairOutcome.A if first.value > second.value else PairOutcome.B
        return PairJudgment(
            PairOutcome.TIE if first.value == second.value else outcome,
            bool(details.get("flips")),
            (first.reason, second.reason),
            details,
        )

    def _planned_calls(self, group: RankingGroup) -> list[ShownGreetings]:
        windows = plan_calls(group, self.per_call, self.model.variant)
        if not self.both_orders:
            return windows
        return [call for window in windows for call in (window, window.reversed)]


@dataclass(frozen=True)
class _RankingCaller(ItemJudge[ShownGreetings, CallVerdict]):
    """Makes single calls; a batch of them at once."""

    model: JudgeModel
    rules: tuple[str, ...]

    def build_message(self, call: ShownGreetings) -> ChatMessage:
        """The prompt of one call."""
        return self.model.build_message(
            prompt_template("ranking"),
            principles=numbered_rules(self.rules),
            prompt=untrusted_request(call.prompt),
            # The label stands in the mark of the fence, which no greeting can imitate.
            greetings=tuple(
                UntrustedText(shorten_text(greeting_text), f"祝福{label}")
                for label, greeting_text in zip(call.labels, call.texts, strict=True)
            ),
        )

    async def judge_item(self, item: ShownGreetings) -> CallVerdict:
        """The order that one call gives."""
        answer = await ask_for_fields(
            self.model.connected_client,
            [self.build_message(item)],
            RANKING_FIELDS,
            interpret=partial(_interpret_reply, labels=item.labels),
            **self.model.call_options,
        )
        if answer.field_values is None:
            return CallVerdict(None, failure_reason(answer), answer)
        return CallVerdict(answer.field_values["order"], answer.field_values.get("explanation", ""), answer)

    def unscored(self, reason: str) -> CallVerdict:
        """No order, and why."""
        return CallVerdict(None, reason)


def _interpret_reply(parsed_reply: ParsedReply, reply_text: str, *, labels: str) -> ParsedReply:
    """The fields of a reply with its order as LabelOrder; an order that is not in the form may still be one chain."""
    if isinstance(parsed_reply, ParseFailure) and parsed_reply.reason != "no_answer":
        return parsed_reply
    field_values = {} if isinstance(parsed_reply, ParseFailure) else parsed_reply
    label_order = read_label_order(field_values.get("order", ()), labels) or find_label_chain(
        without_thoughts(reply_text, []), labels
    )
    if label_order is None:
        return ParseFailure("no_order", reply_text, "order")
    return {**field_values, "order": label_order}


@dataclass(frozen=True)
class _WindowValues:
    """What the calls on one window gave: values and reasons by text; pairs flipped and compared."""

    values: Mapping[str, float]
    reasons: Mapping[str, str]
    flips: tuple[int, int] = (0, 0)


@dataclass
class _GroupValues:
    """Values of one group from all its calls."""

    group: RankingGroup
    judged_calls: Sequence[tuple[ShownGreetings, CallVerdict]]
    both_orders: bool
    windows: list[_WindowValues] = field(default_factory=list)

    def judgments(self) -> list[Judgment]:
        """One judgment per greeting."""
        if len(self.group.copies) < 2:
            return [self._judgment_without_call(greeting_text) for greeting_text in self.group.greetings]
        self.windows = self._window_values()
        values = {
            key: fmean(key_values)
            for key in self.group.copies
            # A greeting of two windows has the mean of both: each is a random part of the group.
            if (key_values := [window.values[key] for window in self.windows if key in window.values])
        }
        judgment_by_key = {key: self._judgment(key, values) for key in self.group.copies}
        return [
            judgment_by_key.get(strip_white_space(greeting_text), EMPTY_GREETING)
            for greeting_text in self.group.greetings
        ]

    def _judgment_without_call(self, greeting_text: str) -> Judgment:
        if not strip_white_space(greeting_text):
            return EMPTY_GREETING
        # Equal texts are equally good, which needs no model; a single text has nothing to stand against.
        return Judgment(0.5, ALL_EQUAL) if self.group.copies.total() > 1 else unscored_judgment(ONLY_ONE)

    def _window_values(self) -> list[_WindowValues]:
        call_values = [self._call_values(call, verdict) for call, verdict in self.judged_calls]
        if not self.both_orders:
            return call_values
        return [_mean_window(*pair) for pair in zip(call_values[::2], call_values[1::2], strict=True)]

    def _call_values(self, call: ShownGreetings, verdict: CallVerdict) -> _WindowValues:
        keys = [strip_white_space(shown_text) for shown_text in call.texts]
        if verdict.order is None:
            return _WindowValues({}, dict.fromkeys(keys, verdict.reason))
        key_by_label = dict(zip(call.labels, keys, strict=True))
        places = [[key_by_label[label] for label in place] for place in verdict.order.places]
        reasons = {
            key: REPEATED if label in verdict.order.repeated else LEFT_OUT for label, key in key_by_label.items()
        }
        return _WindowValues(place_values(places, self.group.copies), reasons)

    def _judgment(self, key: str, values: Mapping[str, float]) -> Judgment:
        showing_calls = [
            (call, verdict) for call, verdict in self.judged_calls if self.group.shown_texts[key] in call.texts
        ]
        details = answer_details(*(verdict.answer for _, verdict in showing_calls if verdict.answer is not None))
        if self.both_orders:
            flips, compared = (sum(counts) for counts in zip(*(window.flips for window in self.windows), strict=True))
            details |= {"flips": flips, "flip_pairs": compared}
        if key not in values:
            reason = next(window.reasons[key] for window in self.windows if key in window.reasons)
            return Judgment(None, reason, details)
        rank, ranked_count = self._rank(key, values)
        label = showing_calls[0][0].labels[showing_calls[0][0].texts.index(self.group.shown_texts[key])]
        explanations = [verdict.reason for _, verdict in showing_calls if verdict.order is not None and verdict.reason]
        reason = f"{ranked_count} 条中排第 {rank:g}（标号 {label}）"
        return Judgment(
            values[key],
            f"{reason}：{explanations[0]}" if explanations else reason,
            {**details, "rank": rank, "ranked": ranked_count, "label": label},
        )

    def _rank(self, key: str, values: Mapping[str, float]) -> tuple[float, int]:
        """The mid-rank of a text in the whole group, and how many were ranked."""
        copies = self.group.copies
        better_count = sum(copies[other] for other, value in values.items() if value > values[key])
        tied_count = sum(copies[other] for other, value in values.items() if value == values[key])
        return better_count + (tied_count + 1) / 2, sum(copies[other] for other in values)


def _mean_window(in_order: _WindowValues, reverse: _WindowValues) -> _WindowValues:
    """One order alone is no verdict: nobody would know whether the place decided."""
    return _WindowValues(
        {key: fmean((value, reverse.values[key])) for key, value in in_order.values.items() if key in reverse.values},
        {key: reverse.reasons[key] if key in in_order.values else reason for key, reason in in_order.reasons.items()},
        count_flips(in_order.values, reverse.values),
    )
