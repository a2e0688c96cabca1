"""One candidate: a request and a recipe in, a text or the reason for none out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from backend.agents.plan import Recipe, Wished
from backend.judges.base import Sample
from backend.llm.errors import Kind, LLMError
from backend.llm.fence import neutralised
from backend.llm.messages import ChatMessage, LLMClient
from backend.llm.prompts import Template, Untrusted, compose, load

TOKENS = 600
NONE = "（无）"
LENGTHS = {
    Wished.FREE: "没有要求字数，就写二十到八十个字。",
    Wished.SHORT: "写得短而精：十到三十个字。",
    Wished.LONG: "写得充实些：六十到一百二十个字。",
}
UNANSWERED, EMPTY, REFUSED = "unanswered", "empty", "refused"
_FAULTS = {Kind.EMPTY: EMPTY, Kind.FILTERED: REFUSED}


@dataclass(frozen=True)
class Pen:
    """A generator made ready for one run. A `trained` one learnt from bare requests and gets nothing else."""

    name: str
    model: str
    key: bytes
    client: LLMClient | None = None
    trained: bool = False
    concurrency: int = 8
    max_tokens: int = TOKENS
    top_p: float = 0.95


def as_asked(pen: Pen, recipe: Recipe) -> Recipe:
    """The recipe as this generator can follow it: one trained here sees no examples and no wished length."""
    return replace(recipe, examples=False, wished=Wished.FREE) if pen.trained else recipe


@dataclass(frozen=True)
class Said:
    """What came of one call: a text, or the fault that stands in its place. `cut` where tokens ran out."""

    text: str
    call_id: str = ""
    fault: str | None = None
    cut: bool = False


@cache
def template() -> Template:
    """What is asked of a generator that is no model of ours."""
    return load("write", Path(__file__).parent / "prompts")


def messages(
    pen: Pen, recipe: Recipe, request: str, examples: Sequence[Sample], *, free: bool
) -> list[ChatMessage]:
    """What goes to the generator. `free` says that the request itself fixes no length."""
    if pen.trained:
        return [ChatMessage("user", neutralised(request))]
    shown = "\n".join(
        f"{n}. 请求：{one.prompt}\n   祝福：{one.greeting}" for n, one in enumerate(examples, 1)
    )
    return [
        compose(
            template(),
            pen.key,
            request=Untrusted(request, "请求"),
            examples=Untrusted(shown, "范例") if recipe.examples and shown else NONE,
            length=LENGTHS[recipe.wished] if free else "",
        )
    ]


async def write(
    pen: Pen, recipe: Recipe, request: str, examples: Sequence[Sample], seed: int, *, free: bool
) -> Said:
    """One candidate. Raises LLMError only where it ends the whole run."""
    assert pen.client is not None, "open the generator before it writes"
    try:
        done = await pen.client.complete(
            messages(pen, recipe, request, examples, free=free),
            temperature=recipe.temperature,
            max_tokens=pen.max_tokens,
            seed=seed,
            extra={"top_p": pen.top_p},
        )
    except LLMError as error:
        if error.ends_run:
            raise
        return Said("", fault=_FAULTS.get(error.kind, UNANSWERED))
    return Said(done.text, done.call_id, cut=done.finish_reason == "length")
