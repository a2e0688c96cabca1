"""From what a visitor entered to what generators get: a request for one greeting, in the corpus's manner."""

from dataclasses import dataclass

from backend.errors import Message, UserError
from backend.playground.records import PlayRequest, RequestFields
from backend.text import normalize_text
from backend.writing.asked import for_one_greeting
from backend.writing.wish import GreetingRequest, parse_request

DEFAULT_COUNT = 4
MAX_GREETINGS = 20
MAX_MODELS = 4
LENGTH_PHRASES = {"short": "20字以内", "medium": "50字左右", "long": "100字左右"}
_LONGEST_FIELD, _LONGEST_PERSONAL = 40, 200


@dataclass(frozen=True)
class ParsedRequest:
    """A request, read: the prompt and the wish for a single greeting, and how many of them."""

    prompt: str
    greeting_request: GreetingRequest
    count: int
    note: Message | None = None


def parse_play_request(request: PlayRequest) -> ParsedRequest:
    """Raises UserError with a friendly sentence for what cannot be answered."""
    whole_text = request_sentence(request.text, request.fields)
    whole_request = parse_request(whole_text)
    if whole_request.refusal is not None:
        raise UserError(whole_request.refusal.message.en, whole_request.refusal.message.zh)
    prompt_text = for_one_greeting(whole_request.text)
    wanted_count = whole_request.count if whole_request.count > 1 else (request.count or DEFAULT_COUNT)
    count_note = None
    if wanted_count > MAX_GREETINGS:
        count_note = Message(
            f"At most {MAX_GREETINGS} greetings at a time; these are the first {MAX_GREETINGS}.",
            f"一次最多写 {MAX_GREETINGS} 条，先写 {MAX_GREETINGS} 条。",
        )
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
