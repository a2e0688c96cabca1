"""What crosses from the playground to pages and commands, and how a visitor's input becomes a request."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from backend.core.enums import CardChange, CardState
from backend.core.errors import Message, UserError
from backend.core.text import normalize_text
from backend.generation.request import GreetingRequest, for_one_greeting, parse_request
from backend.generation.writer import BIGGEST_SEED, SamplingSettings


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
    # Empty, or what is wrong: a Fault, "near", or the kind of an LLMError.
    fault: str
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
    """One judge on one greeting. `verdict_value` None: no verdict, and `reason` says why."""

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


# The API takes temperatures from 0 to 2; a nucleus of share 0 would hold no token at all.
SAMPLING_LIMITS: Mapping[str, tuple[float, float]] = {
    "temperature": (0.0, 2.0),
    "top_p": (0.05, 1.0),
    "max_tokens": (8, 2000),
}
_SETTING_NAMES = {
    "temperature": ("Temperature", "温度"),
    "top_p": ("top_p", "top_p"),
    "max_tokens": ("The length limit", "最长字数"),
}


def visitor_sampling(
    default_sampling: SamplingSettings, overrides: Mapping[str, float | int], draw_seed: int
) -> SamplingSettings:
    """A generator's own sampling with what a visitor set instead, and the seed of one draw.

    Raises UserError naming what is out of its range.
    """
    for setting_name, setting_value in overrides.items():
        if setting_name not in SAMPLING_LIMITS:
            raise UserError(f"There is no setting “{setting_name}”.", f"没有“{setting_name}”这项设置。")
        lower_limit, upper_limit = SAMPLING_LIMITS[setting_name]
        # Every comparison with NaN is false, and Python's JSON parser accepts NaN.
        if not math.isfinite(setting_value) or not lower_limit <= setting_value <= upper_limit:
            en, zh = _SETTING_NAMES[setting_name]
            raise UserError(
                f"{en} must be from {lower_limit:g} to {upper_limit:g}.",
                f"{zh}须在 {lower_limit:g} 到 {upper_limit:g} 之间。",
            )
    return replace(
        default_sampling,
        temperature=float(overrides.get("temperature", default_sampling.temperature)),
        top_p=float(overrides.get("top_p", default_sampling.top_p)),
        max_tokens=int(overrides.get("max_tokens", default_sampling.max_tokens)),
        seed=draw_seed % BIGGEST_SEED,
    )


DEFAULT_COUNT = 4
MAX_GREETINGS = 20
MAX_MODELS = 4
# In words that `parse_request` reads, so that a chosen length is checked like a written one.
LENGTH_PHRASES = {"short": "20字以内", "medium": "50字左右", "long": "100字左右"}
_LONGEST_FIELD, _LONGEST_PERSONAL = 40, 200


@dataclass(frozen=True)
class ParsedRequest:
    """A request, read: the prompt for a single greeting, what it asks for, and how many cards each model writes."""

    prompt: str
    greeting_request: GreetingRequest
    count: int
    note: Message | None = None


def parse_play_request(request: PlayRequest) -> ParsedRequest:
    """Read sentence and fields together. Raises UserError with a sentence for what cannot be answered."""
    whole_text = request_sentence(request.text, request.fields)
    whole_request = parse_request(whole_text)
    # Sentence and fields together: a harmless sentence may be turned into something else by a field.
    if whole_request.refusal is not None:
        raise UserError(whole_request.refusal.message.en, whole_request.refusal.message.zh)
    # One card, one greeting: asked for ten, a model would write a list into every card.
    prompt_text = for_one_greeting(whole_request.text)
    # A number in the sentence is what the visitor wrote; the field beside it may simply stand as it was.
    wanted_count = whole_request.count if whole_request.count > 1 else (request.count or DEFAULT_COUNT)
    count_note = None
    if wanted_count > MAX_GREETINGS:
        count_note = Message(
            f"At most {MAX_GREETINGS} greetings at a time; these are the first {MAX_GREETINGS}.",
            f"一次最多写 {MAX_GREETINGS} 条，先写 {MAX_GREETINGS} 条。",
        )
    # Read again without its count: candidates are held to the request for one greeting.
    return ParsedRequest(prompt_text, parse_request(prompt_text), max(1, min(wanted_count, MAX_GREETINGS)), count_note)


def request_sentence(entered_text: str, request_fields: RequestFields) -> str:
    """The request as one sentence, as people write them: whom for, what for, then everything else."""
    cleaned_text = normalize_text(entered_text)
    recipient, occasion = _field_text(request_fields.recipient), _field_text(request_fields.occasion)
    sentence_parts = [cleaned_text] if cleaned_text else []
    if recipient or occasion:
        default_phrase = f"{'给' + recipient if recipient else ''}写一条{occasion}祝福"
        sentence_parts.append(
            default_phrase if not cleaned_text else f"{'送给' + recipient if recipient else ''}{occasion}"
        )
    sentence_parts.append(normalize_text(request_fields.personal)[: _LONGEST_PERSONAL + 1])
    if style_text := _field_text(request_fields.style):
        sentence_parts.append(f"要{style_text}一点")
    sentence_parts.append(LENGTH_PHRASES.get(request_fields.length, _field_text(request_fields.length)))
    return "，".join(sentence_part.strip("，。, ") for sentence_part in sentence_parts if sentence_part)


def _field_text(entered_text: str) -> str:
    """A field on one line; one that is too long is cut, the whole is checked as a sentence anyway."""
    return " ".join(normalize_text(entered_text).split())[:_LONGEST_FIELD]
