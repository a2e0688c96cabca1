"""From what a visitor entered to what generators get: a request for one greeting, in the corpus's manner."""

from dataclasses import dataclass

from backend.errors import Message, UserError
from backend.playground.records import Fields, PlayRequest
from backend.text import clean
from backend.writing.asked import for_one
from backend.writing.wish import Wish, read_wish

USUAL = 4
MOST = 20
MOST_MODELS = 4
LENGTHS = {"short": "20字以内", "medium": "50字左右", "long": "100字左右"}
_FIELD, _PERSONAL = 40, 200


@dataclass(frozen=True)
class Asked:
    """A request, read: the prompt and the wish for a single greeting, and how many of them."""

    prompt: str
    wish: Wish
    count: int
    note: Message | None = None


def read_request(request: PlayRequest) -> Asked:
    """Raises UserError with a friendly sentence for what cannot be answered."""
    text = sentence(request.text, request.fields)
    whole = read_wish(text)
    if whole.refusal is not None:
        raise UserError(whole.refusal.message.en, whole.refusal.message.zh)
    prompt = for_one(whole.text)
    wanted = whole.count if whole.count > 1 else (request.count or USUAL)
    note = None
    if wanted > MOST:
        note = Message(
            f"At most {MOST} greetings at a time; these are the first {MOST}.",
            f"一次最多写 {MOST} 条，先写 {MOST} 条。",
        )
    return Asked(prompt, read_wish(prompt), max(1, min(wanted, MOST)), note)


def sentence(text: str, fields: Fields) -> str:
    """The request as one sentence, as people write them: whom for, what for, then everything else."""
    said = clean(text)
    person, occasion = _part(fields.recipient), _part(fields.occasion)
    parts = [said] if said else []
    if person or occasion:
        told = f"{'给' + person if person else ''}写一条{occasion}祝福"
        parts.append(told if not said else f"{'送给' + person if person else ''}{occasion}")
    parts.append(clean(fields.personal)[: _PERSONAL + 1])
    if style := _part(fields.style):
        parts.append(f"要{style}一点")
    parts.append(LENGTHS.get(fields.length, _part(fields.length)))
    return "，".join(part.strip("，。, ") for part in parts if part)


def _part(text: str) -> str:
    """A field on one line; one that is too long is cut, the whole is checked as a sentence anyway."""
    return " ".join(clean(text).split())[:_FIELD]
