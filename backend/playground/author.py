"""One card: draws until one has no fault and says something new, within bounds; else says what is wrong."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from backend.errors import Message
from backend.llm.errors import Kind, LLMError
from backend.llm.messages import ChatMessage
from backend.playground.vocabulary import Change
from backend.text import length, squeeze
from backend.writing.checks import Fault, clean, fault_of
from backend.writing.faults import LONGEST_GREETING
from backend.writing.near import Seen
from backend.writing.wish import Wish
from backend.writing.writer import BIGGEST_SEED, GREETING, REVISION, Sampling, Writer, Written

TRIES, TRIES_EXACT = 3, 6
STRIDE = 7_919
"""Between the seeds of two tries of a card; the cards beside it have the seeds in between."""
HIDDEN = frozenset({Fault.EMPTY, Fault.GARBAGE, Fault.REFUSED, Fault.WRONG_LANGUAGE, Fault.REPEATS_PROMPT})
"""With one of these a text is no greeting at all, and is not shown in the end."""
NEAR = "near"
HOW = {
    Change.SHORTER: ("更短，不超过原来的一半，只留最要紧的一句话", "短一点"),
    Change.WARMER: ("更温暖、更贴心，像是真的惦记着对方", "温情一点"),
    Change.FUNNIER: ("更风趣，让人看了会笑，但不失分寸", "幽默一点"),
    Change.CLASSICAL: ("更有古典韵味，用典雅的词句，但要读得懂", "古风一点"),
}
_SAME = Message("The model keeps writing what is there already.", "模型写来写去都是已有的那几句。")
_WINDOW = 12
_STEP = 24


@dataclass(frozen=True)
class Outcome:
    """How a card ended. `note` says what is wrong with the text, or why there is none."""

    text: str
    note: Message | None
    fault: str
    tries: int
    seconds: float
    seed: int
    call_id: str = ""
    broken: bool = False
    """Whether the text is only what had come when the stream broke off."""


@dataclass(frozen=True)
class Before:
    """The version that another one is asked for, and how it should differ."""

    text: str
    change: Change


@dataclass(frozen=True)
class _Draw:
    text: str
    fault: str
    note: Message | None
    written: Written | None


class Author:
    """Writes the cards of one generator for one request; they share what was seen."""

    def __init__(self, writer: Writer, prompt: str, wish: Wish, seen: Seen) -> None:
        self._writer = writer
        self._prompt = prompt
        self._wish = wish
        self._seen = seen

    async def write(
        self, sampling: Sampling, tell: Callable[[str, int], None], before: Before | None = None
    ) -> Outcome:
        """`tell` gets the text so far and which try it is. Raises LLMError only where nobody can go on."""
        wish = _wish_for(self._wish, before)
        began, first = time.monotonic(), sampling.seed or 0
        tries = TRIES_EXACT if wish.exact_chars is not None else TRIES
        draws: list[tuple[int, _Draw]] = []
        for number in range(tries):
            seed = (first + STRIDE * number) % BIGGEST_SEED
            asked = self._messages(before, draws[-1][1] if draws else None)
            draw = await self._draw(wish, asked, replace(sampling, seed=seed), number, tell)
            draws.append((seed, draw))
            if not draw.fault:
                break
        seed, best = min(draws, key=lambda each: _badness(each[1]))
        if not best.fault:
            self._seen.add(best.text)
        return Outcome(
            text="" if _hidden(best) else best.text,
            note=best.note,
            fault=best.fault,
            tries=len(draws),
            seconds=time.monotonic() - began,
            seed=seed,
            call_id=best.written.call_id if best.written else "",
            broken=bool(best.fault) and best.written is None and best.fault not in set(Fault),
        )

    async def _draw(
        self,
        wish: Wish,
        asked: list[ChatMessage],
        sampling: Sampling,
        number: int,
        tell: Callable[[str, int], None],
    ) -> _Draw:
        watch = _Watch(wish, lambda text: tell(text, number))
        try:
            written = await self._writer.stream(self._prompt, watch, sampling, asked)
        except LLMError as error:
            if error.kind is Kind.STOPPED and watch.fault:
                return _Draw(clean(watch.text), watch.fault, watch.fault.message, None)
            if error.ends_run:
                raise
            return _Draw(clean(watch.text), error.kind.value, error.message, None)
        text = clean(written.text)
        fault = Fault.REPEATS_PROMPT if leaks(text) else fault_of(wish, text)
        if fault is None and written.cut:
            fault = Fault.CUT
        if fault is not None:
            return _Draw(text, fault, fault.message, written)
        if self._seen.find(text) is not None:
            return _Draw(text, NEAR, _SAME, written)
        return _Draw(text, "", None, written)

    def _messages(self, before: Before | None, last: _Draw | None) -> list[ChatMessage]:
        if before is None or before.change not in HOW:
            asked = self._writer.messages(self._prompt)
        else:
            told, bare = HOW[before.change]
            asked = self._writer.revision(self._prompt, before.text, bare if self._writer.trained else told)
        if self._writer.trained or last is None or last.note is None or not last.written:
            return asked
        # A model that can be told what was wrong does better than one that only draws again.
        wrong = f"这一条不行：{last.note.zh}请重写一条，只写正文。"
        return [*asked, ChatMessage("assistant", last.text or "……"), ChatMessage("user", wrong)]


class _Watch:
    """Passes a growing text on, and stops it where more of it can only be worse."""

    def __init__(self, wish: Wish, tell: Callable[[str], None]) -> None:
        self._wish, self._tell = wish, tell
        self._looked = 0
        self.text = ""
        self.fault: Fault | None = None

    def __call__(self, text: str) -> None:
        self.text = text
        if len(text) - self._looked >= _STEP:
            self._looked = len(text)
            self.fault = self._wrong(text)
        if self.fault is not None:
            raise LLMError(Kind.STOPPED)
        self._tell(text)

    def _wrong(self, text: str) -> Fault | None:
        if leaks(text):
            return Fault.REPEATS_PROMPT
        if length(text) > LONGEST_GREETING:
            return Fault.TOO_LONG
        return Fault.REPETITIVE if fault_of(self._wish, text) is Fault.REPETITIVE else None


def _windows(text: str) -> set[str]:
    body = squeeze(text)
    return {body[at : at + _WINDOW] for at in range(len(body) - _WINDOW + 1)}


_OURS = _windows(GREETING.text) | _windows(REVISION.text)


def leaks(text: str) -> bool:
    """Whether the text repeats a stretch of our own instructions."""
    return not _OURS.isdisjoint(_windows(text))


def _wish_for(wish: Wish, before: Before | None) -> Wish:
    if before is None or before.change is not Change.SHORTER or wish.exact_chars is not None:
        return wish
    return replace(wish, max_chars=max(4, length(before.text) - 1))


def _badness(draw: _Draw) -> int:
    if not draw.fault:
        return 0
    if draw.fault == NEAR or _hidden(draw) or not draw.text:
        return 3
    return 1 if draw.written else 2


def _hidden(draw: _Draw) -> bool:
    return draw.fault in HIDDEN or draw.fault == NEAR
