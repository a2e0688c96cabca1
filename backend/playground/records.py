"""What crosses from the playground to pages and commands."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from backend.errors import Message
from backend.playground.vocabulary import CardChange, CardState
from backend.writing.writer import SamplingSettings


@dataclass(frozen=True)
class RequestFields:
    """A request by parts; any of them may be empty. Texts as a visitor enters them."""

    occasion: str = ""
    recipient: str = ""
    style: str = ""
    length: str = ""
    personal: str = ""


@dataclass(frozen=True)
class PlayRequest:
    """What a visitor asks for: a sentence, or fields, or both.

    `count` None leaves it to the sentence. `sampling` holds what differs from a generator's own defaults;
    one `seed` for all generators makes them comparable, None draws one.
    """

    generators: tuple[str, ...]
    text: str = ""
    fields: RequestFields = RequestFields()
    count: int | None = None
    sampling: Mapping[str, float | int] = field(default_factory=dict)
    seed: int | None = None


@dataclass(frozen=True)
class CardView:
    """A card as it stands. `ahead` is how many others are written before it, while it waits."""

    id: int
    generator: str
    model: str
    place: int
    version: int
    change: CardChange | None
    state: CardState
    text: str
    note: Message | None
    fault: str
    """Empty, or what is wrong: a Fault, "near", or the kind of an LLMError."""
    seed: int
    sampling: SamplingSettings
    tries: int
    seconds: float | None
    liked: int = 0
    ahead: int = 0
    waking: bool = False


@dataclass(frozen=True)
class RoundView:
    """A round as it stands; `revision` grows with every change while it is being written."""

    token: str
    prompt: str
    entered_request: Mapping[str, Any]
    seed: int
    created_at: datetime
    cards: tuple[CardView, ...]
    running: bool
    revision: int
    note: Message | None = None


@dataclass(frozen=True)
class CardVerdict:
    """One judge on one greeting. `value` None: no verdict, and `reason` says why."""

    judge: str
    judge_kind: str
    scale: str
    verdict_value: float | None
    reason: str


@dataclass(frozen=True)
class ModelTally:
    """What a model wrote here so far: greetings shown, and visitors' signals (not blind, no labels)."""

    generator: str
    model: str
    greetings: int
    prompts: int
    likes: int
    dislikes: int
