"""One card: draws until one has no fault and says something new, within bounds; else says what is wrong."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from backend.core.enums import CardChange
from backend.core.errors import Message
from backend.core.text import count_characters, strip_white_space
from backend.generation.checks import LONGEST_GREETING, Fault, clean_greeting, find_fault
from backend.generation.near_duplicates import NearDuplicateIndex
from backend.generation.request import GreetingRequest
from backend.generation.writer import (
    BIGGEST_SEED,
    GREETING_TEMPLATE,
    REVISION_TEMPLATE,
    GreetingWriter,
    SamplingSettings,
    WrittenGreeting,
)
from backend.llm.errors import LLMError, LLMErrorKind
from backend.llm.messages import ChatMessage

# Draws of a card. More where an exact length is asked for, which a model hits by luck.
MAX_TRIES, MAX_TRIES_EXACT = 3, 6
# Between the seeds of two tries of a card; the cards beside it have the seeds in between.
SEED_STRIDE = 7_919
# With one of these a text is no greeting at all, and is not shown in the end.
HIDDEN_FAULTS = frozenset({Fault.EMPTY, Fault.GARBAGE, Fault.REFUSED, Fault.WRONG_LANGUAGE, Fault.REPEATS_PROMPT})
NEAR_DUPLICATE = "near"
CHANGE_INSTRUCTIONS = {
    CardChange.SHORTER: ("更短，不超过原来的一半，只留最要紧的一句话", "短一点"),
    CardChange.WARMER: ("更温暖、更贴心，像是真的惦记着对方", "温情一点"),
    CardChange.FUNNIER: ("更风趣，让人看了会笑，但不失分寸", "幽默一点"),
    CardChange.CLASSICAL: ("更有古典韵味，用典雅的词句，但要读得懂", "古风一点"),
}
_SAME_TEXT_NOTE = Message("The model keeps writing what is there already.", "模型写来写去都是已有的那几句。")
# Twelve characters in a row of the prompt files do not come up in a greeting by chance; shorter stretches may.
_WINDOW_LENGTH = 12
# Every piece of a stream may be one character: looking each time would cost the square of the length.
_CHECK_INTERVAL = 24


@dataclass(frozen=True)
class CardOutcome:
    """How a card ended. `note` says what is wrong with the text, or why there is none.

    `fault` is empty, a Fault, NEAR_DUPLICATE, or the kind of an LLMError; `seconds` count all tries together.
    """

    text: str
    note: Message | None
    fault: str
    tries: int
    seconds: float
    seed: int
    call_id: str = ""
    # Whether the text is only what had come when the stream broke off.
    broken: bool = False


@dataclass(frozen=True)
class PreviousVersion:
    """The version that another one is asked for, and how it should differ."""

    text: str
    card_change: CardChange


@dataclass(frozen=True)
class _CardDraft:
    text: str
    fault: str
    note: Message | None
    written_greeting: WrittenGreeting | None


class CardAuthor:
    """Writes the cards of one generator for one request; what one card said the others do not repeat."""

    def __init__(
        self,
        greeting_writer: GreetingWriter,
        prompt_text: str,
        request: GreetingRequest,
        near_duplicates: NearDuplicateIndex,
    ) -> None:
        self._greeting_writer = greeting_writer
        self._prompt_text = prompt_text
        self._request = request
        self._near_duplicates = near_duplicates

    async def write_card(
        self,
        sampling: SamplingSettings,
        on_text: Callable[[str, int], None],
        previous_version: PreviousVersion | None = None,
    ) -> CardOutcome:
        """Draw until a text has no fault, at most MAX_TRIES times; the best of the drafts where none is good.

        `on_text` gets the text so far and which try it is (0 is the first). Raises LLMError only where no
        further call makes sense.
        """
        request = _request_for_change(self._request, previous_version)
        started_at, first_seed = time.monotonic(), sampling.seed or 0
        max_tries = MAX_TRIES_EXACT if request.exact_chars is not None else MAX_TRIES
        seeded_drafts: list[tuple[int, _CardDraft]] = []
        for try_index in range(max_tries):
            draft_seed = (first_seed + SEED_STRIDE * try_index) % BIGGEST_SEED
            try_messages = self._try_messages(previous_version, seeded_drafts[-1][1] if seeded_drafts else None)
            card_draft = await self._draft_card(
                request, try_messages, replace(sampling, seed=draft_seed), try_index, on_text
            )
            seeded_drafts.append((draft_seed, card_draft))
            if not card_draft.fault:
                break
        # min() takes the earliest of equals: a later try that is no better has only made the visitor wait.
        draft_seed, best_draft = min(seeded_drafts, key=lambda each: _draft_badness(each[1]))
        if not best_draft.fault:
            # A faulty text is not remembered: a sound one like it would be refused as a repetition.
            self._near_duplicates.add_if_new(best_draft.text)
        return CardOutcome(
            text="" if _is_hidden(best_draft) else best_draft.text,
            note=best_draft.note,
            fault=best_draft.fault,
            tries=len(seeded_drafts),
            seconds=time.monotonic() - started_at,
            seed=draft_seed,
            call_id=best_draft.written_greeting.call_id if best_draft.written_greeting else "",
            broken=bool(best_draft.fault)
            and best_draft.written_greeting is None
            and best_draft.fault not in set(Fault),
        )

    async def _draft_card(
        self,
        request: GreetingRequest,
        try_messages: list[ChatMessage],
        sampling: SamplingSettings,
        try_index: int,
        on_text: Callable[[str, int], None],
    ) -> _CardDraft:
        stream_watch = _StreamWatch(request, lambda draft_text: on_text(draft_text, try_index))
        try:
            written = await self._greeting_writer.stream(self._prompt_text, stream_watch, sampling, try_messages)
        except LLMError as error:
            # Stopped by our own watch: the fault is known, and the next try hears of it.
            if error.kind is LLMErrorKind.STOPPED and stream_watch.stream_fault:
                return _CardDraft(
                    clean_greeting(stream_watch.text),
                    stream_watch.stream_fault,
                    stream_watch.stream_fault.message,
                    None,
                )
            if error.ends_run:
                raise
            # What had come is kept: shown as broken off, it is still better than an empty card.
            return _CardDraft(clean_greeting(stream_watch.text), error.kind.value, error.message, None)
        draft_text = clean_greeting(written.text)
        draft_fault = (
            Fault.REPEATS_PROMPT
            # Before the other faults: our own prompt must never
            # be shown, however good the rest of the text is.
            if leaks_instructions(draft_text)
            else find_fault(request, draft_text, was_cut=written.cut)
        )
        if draft_fault is not None:
            return _CardDraft(draft_text, draft_fault, draft_fault.message, written)
        if self._near_duplicates.find_similar(draft_text) is not None:
            return _CardDraft(draft_text, NEAR_DUPLICATE, _SAME_TEXT_NOTE, written)
        return _CardDraft(draft_text, "", None, written)

    def _try_messages(
        self, previous_version: PreviousVersion | None, last_draft: _CardDraft | None
    ) -> list[ChatMessage]:
        if previous_version is None or previous_version.card_change not in CHANGE_INSTRUCTIONS:
            # “Again” has no instruction: another seed is all that differs.
            base_messages = self._greeting_writer.messages(self._prompt_text)
        else:
            instruction, short_instruction = CHANGE_INSTRUCTIONS[previous_version.card_change]
            base_messages = self._greeting_writer.revision(
                self._prompt_text,
                previous_version.text,
                short_instruction if self._greeting_writer.trained else instruction,
            )
        # A model trained here knows no second turn: it gets another seed and nothing else.
        if (
            self._greeting_writer.trained
            or last_draft is None
            or last_draft.note is None
            or not last_draft.written_greeting
        ):
            return base_messages
        # A model that hears what was wrong does better than one that only draws again.
        correction = f"这一条不行：{last_draft.note.zh}请重写一条，只写正文。"
        return [
            *base_messages,
            ChatMessage("assistant", last_draft.text or "……"),  # some servers refuse an empty turn
            ChatMessage("user", correction),
        ]


class _StreamWatch:
    """Passes a growing text on, and stops it where more of it can only be worse."""

    def __init__(self, request: GreetingRequest, on_text: Callable[[str], None]) -> None:
        self._request, self._on_text = request, on_text
        self._checked_length = 0
        self.text = ""
        self.stream_fault: Fault | None = None

    def __call__(self, text_so_far: str) -> None:
        self.text = text_so_far
        if len(text_so_far) - self._checked_length >= _CHECK_INTERVAL:
            self._checked_length = len(text_so_far)
            self.stream_fault = self._find_fault(text_so_far)
        if self.stream_fault is not None:
            raise LLMError(LLMErrorKind.STOPPED)
        self._on_text(text_so_far)

    # Only faults that more text cannot mend: a text that is too short or cut off is simply not finished.
    def _find_fault(self, text_so_far: str) -> Fault | None:
        if leaks_instructions(text_so_far):
            return Fault.REPEATS_PROMPT
        if count_characters(text_so_far) > LONGEST_GREETING:
            return Fault.TOO_LONG
        return Fault.REPETITIVE if find_fault(self._request, text_so_far) is Fault.REPETITIVE else None


def _text_windows(source_text: str) -> set[str]:
    squeezed_text = strip_white_space(source_text)
    return {
        squeezed_text[start_index : start_index + _WINDOW_LENGTH]
        for start_index in range(len(squeezed_text) - _WINDOW_LENGTH + 1)
    }


# Computed once: a stream is held against them again and again as it grows.
_PROMPT_WINDOWS = _text_windows(GREETING_TEMPLATE.template_text) | _text_windows(REVISION_TEMPLATE.template_text)


def leaks_instructions(draft_text: str) -> bool:
    """Whether the text repeats a stretch of our own instructions."""
    return not _PROMPT_WINDOWS.isdisjoint(_text_windows(draft_text))


def _request_for_change(request: GreetingRequest, previous_version: PreviousVersion | None) -> GreetingRequest:
    if (
        previous_version is None
        or previous_version.card_change is not CardChange.SHORTER
        # A length that the visitor named outranks the wish for a shorter version.
        or request.exact_chars is not None
    ):
        return request
    # At least one character less, or “shorter” would be met
    # by the same text; below four there is hardly a greeting.
    return replace(request, max_chars=max(4, count_characters(previous_version.text) - 1))


def _draft_badness(card_draft: _CardDraft) -> int:
    if not card_draft.fault:
        return 0
    if card_draft.fault == NEAR_DUPLICATE or _is_hidden(card_draft) or not card_draft.text:
        return 3
    # A whole text with a fault (1) serves a visitor better
    # than one that broke off (2) or cannot be shown (3).
    return 1 if card_draft.written_greeting else 2


def _is_hidden(card_draft: _CardDraft) -> bool:
    return card_draft.fault in HIDDEN_FAULTS or card_draft.fault == NEAR_DUPLICATE
