"""One candidate: a request and a recipe in, a text or the reason for none out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from backend.agents.plan import CandidateRecipe, RequestedLength
from backend.judges.base import Sample
from backend.llm.errors import LLMError, LLMErrorKind
from backend.llm.fence import neutralise_text
from backend.llm.messages import ChatMessage, LLMClient
from backend.llm.prompts import PromptTemplate, UntrustedText, compose_message, load_template

MAX_TOKENS = 600
NO_EXAMPLES_TEXT = "（无）"
LENGTH_INSTRUCTIONS = {
    RequestedLength.FREE: "没有要求字数，就写二十到八十个字。",
    RequestedLength.SHORT: "写得短而精：十到三十个字。",
    RequestedLength.LONG: "写得充实些：六十到一百二十个字。",
}
UNANSWERED_CALL, EMPTY_REPLY, REFUSED_REPLY = "unanswered", "empty", "refused"
_FAULT_BY_ERROR = {LLMErrorKind.EMPTY: EMPTY_REPLY, LLMErrorKind.FILTERED: REFUSED_REPLY}


@dataclass(frozen=True)
class CandidateWriter:
    """A generator made ready for one run. A `trained` one learnt from bare requests and gets nothing else."""

    name: str
    model_name: str
    fence_key: bytes
    client: LLMClient | None = None
    trained: bool = False
    concurrency: int = 8
    max_tokens: int = MAX_TOKENS
    top_p: float = 0.95


def effective_recipe(writer: CandidateWriter, requested_recipe: CandidateRecipe) -> CandidateRecipe:
    """The recipe as this generator can follow it: one trained here sees no examples and no wished length."""
    return (
        replace(requested_recipe, examples=False, wished=RequestedLength.FREE) if writer.trained else requested_recipe
    )


@dataclass(frozen=True)
class CandidateReply:
    """What came of one call: a text, or the fault that stands in its place. `cut` where tokens ran out."""

    text: str
    call_id: str = ""
    fault: str | None = None
    cut: bool = False


@cache
def writing_template() -> PromptTemplate:
    """What is asked of a generator that is no model of ours."""
    return load_template("write", Path(__file__).parent / "prompts")


def writing_messages(
    writer: CandidateWriter,
    candidate_recipe: CandidateRecipe,
    request_text: str,
    examples: Sequence[Sample],
    *,
    length_is_free: bool,
) -> list[ChatMessage]:
    """What goes to the generator. `free` says that the request itself fixes no length."""
    if writer.trained:
        return [ChatMessage("user", neutralise_text(request_text))]
    example_lines = "\n".join(
        f"{example_number}. 请求：{example.prompt}\n   祝福：{example.greeting}"
        for example_number, example in enumerate(examples, 1)
    )
    return [
        compose_message(
            writing_template(),
            writer.fence_key,
            request=UntrustedText(request_text, "请求"),
            examples=UntrustedText(example_lines, "范例")
            if candidate_recipe.examples and example_lines
            else NO_EXAMPLES_TEXT,
            length=LENGTH_INSTRUCTIONS[candidate_recipe.wished] if length_is_free else "",
        )
    ]


async def write_candidate(
    writer: CandidateWriter,
    candidate_recipe: CandidateRecipe,
    request_text: str,
    examples: Sequence[Sample],
    draw_seed: int,
    *,
    length_is_free: bool,
) -> CandidateReply:
    """One candidate. Raises LLMError only where it ends the whole run."""
    assert writer.client is not None, "open the generator before it writes"
    try:
        completion = await writer.client.complete(
            writing_messages(writer, candidate_recipe, request_text, examples, length_is_free=length_is_free),
            temperature=candidate_recipe.temperature,
            max_tokens=writer.max_tokens,
            seed=draw_seed,
            extra={"top_p": writer.top_p},
        )
    except LLMError as error:
        if error.ends_run:
            raise
        return CandidateReply("", fault=_FAULT_BY_ERROR.get(error.kind, UNANSWERED_CALL))
    return CandidateReply(completion.text, completion.call_id, cut=completion.finish_reason == "length")
