"""Candidates for a chunk of prompts: generators opened, asked by recipe, checked, stored as greetings."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from backend.core.enums import Source
from backend.core.text import digest
from backend.corpus.facts import GreetingKey, publish_greeting_ids
from backend.db.base import insert_ignore
from backend.db.engine import Database
from backend.db.pair_tables import Candidate, PairRun, RunPrompt
from backend.db.tables import DatasetEntry, Greeting
from backend.generation.checks import Fault, clean_greeting, find_fault
from backend.generation.generators import GeneratorService
from backend.generation.near_duplicates import GREETING_RULE, NearDuplicateIndex
from backend.generation.request import GreetingRequest, parse_request
from backend.generation.writer import GreetingWriter
from backend.judges.base import Sample
from backend.judges.panel import Retriever
from backend.llm.budget import Budget
from backend.llm.endpoints import EndpointService
from backend.llm.errors import LLMError, LLMErrorKind
from backend.llm.limiter import RetryPolicy
from backend.llm.messages import ChatMessage, LLMClient, storable_text
from backend.llm.prompts import PromptTemplate, UntrustedText, compose_message, load_template, neutralise_text
from backend.preferences.plan import MAX_CANDIDATES, CandidatePlan, CandidateRecipe, RequestedLength

DUPLICATE, NEAR_DUPLICATE, UNREADABLE = "duplicate", "near_duplicate", "unreadable"
SEVERAL = "several"
"""A request for several greetings: a pair compares single ones, so there is no fair candidate for it."""


CUT = Fault.CUT.value
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


class CandidateWriters:
    """Opens the generators of a run for one event loop; close it.

    A policy is woken by a serve job, which is left to its rest timer: visitors or the next chunk may use it.
    """

    def __init__(
        self,
        generators: GeneratorService,
        endpoints: EndpointService,
        retry_policy: RetryPolicy | None = None,
    ) -> None:
        self._generators, self._endpoints, self._policy = generators, endpoints, retry_policy
        self._opened_writers: list[GreetingWriter] = []

    async def open(
        self, generator_names: Sequence[str], ledger_scope: str, run_budget: Budget
    ) -> Mapping[str, CandidateWriter]:
        """Ready generators by name. Raises UserError for one that cannot be used."""
        writers_by_name = {}
        for generator_name in generator_names:
            greeting_writer = await self._generators.open(
                generator_name, ledger_scope, run_budget=run_budget, retry_policy=self._policy
            )
            self._opened_writers.append(greeting_writer)
            generator_info = await asyncio.to_thread(self._generators.info, generator_name)
            candidate_writer = CandidateWriter(
                name=generator_name,
                model_name=generator_info.model,
                fence_key=self._endpoints.fence_key(),
                client=greeting_writer.client,
                concurrency=greeting_writer.client.endpoint.concurrency,
            )
            if greeting_writer.trained:  # it writes as it does for visitors, at the temperatures of the plan
                sampling_settings = greeting_writer.sampling
                candidate_writer = replace(
                    candidate_writer,
                    trained=True,
                    max_tokens=sampling_settings.max_tokens,
                    top_p=sampling_settings.top_p,
                )
            writers_by_name[generator_name] = candidate_writer
        return writers_by_name

    def stop(self) -> None:
        """No further call; those in flight are finished."""
        for opened_writer in self._opened_writers:
            opened_writer.client.stop()

    async def close(self) -> None:
        """Close the clients and store what the ledger holds."""
        for opened_writer in self._opened_writers:
            await opened_writer.close()
        self._endpoints.ledger.flush()


SEED_SPACE = 2**31
FAULTY_TEXT_LIMIT = 2_000
"""Characters that are kept of a text that failed a check."""


@dataclass(frozen=True)
class PendingPrompt:
    """A kept prompt that has no candidates yet."""

    id: int
    position: int
    prompt_id: int
    text: str


@dataclass(frozen=True)
class WrittenCandidate:
    """One candidate as it will be stored."""

    recipe: CandidateRecipe
    model_name: str
    reply: CandidateReply
    text: str
    fault: str | None


@dataclass(frozen=True)
class CandidateProducer:
    """What writing needs: the plan, the generators by name, the examples and a seed."""

    plan: CandidatePlan
    writers: Mapping[str, CandidateWriter]
    retriever: Retriever
    seed: int = 0
    example_count: int = field(default=3)

    async def write(self, pending_prompt: PendingPrompt) -> list[WrittenCandidate]:
        """Every candidate of one prompt. Raises LLMError only where it ends the whole run."""
        request = parse_request(pending_prompt.text)
        recipes = [
            effective_recipe(self.writers[outcome.generator], outcome)
            for outcome in self.plan.prompt_recipes(pending_prompt.position)
        ]
        shown_examples: Sequence[Sample] = ()
        if any(candidate_recipe.examples for candidate_recipe in recipes):
            shown_examples = (await self.retriever.examples(pending_prompt.text))[: self.example_count]
        # Each call is awaited to its end, so that what is paid for is kept; then errors rise.
        outcomes = await asyncio.gather(
            *(
                self._write_one(pending_prompt, request, slot_index, candidate_recipe, shown_examples)
                for slot_index, candidate_recipe in enumerate(recipes)
            ),
            return_exceptions=True,
        )
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        return self._check_replies(
            request, recipes, [outcome for outcome in outcomes if isinstance(outcome, CandidateReply)]
        )

    async def _write_one(
        self,
        pending_prompt: PendingPrompt,
        request: GreetingRequest,
        slot_index: int,
        candidate_recipe: CandidateRecipe,
        shown_examples: Sequence[Sample],
    ) -> CandidateReply:
        draw_seed = (self.seed + pending_prompt.position * MAX_CANDIDATES + slot_index) % SEED_SPACE
        length_is_free = request.exact_chars is None and request.max_chars is None
        return await write_candidate(
            self.writers[candidate_recipe.generator],
            candidate_recipe,
            pending_prompt.text,
            shown_examples,
            draw_seed,
            length_is_free=length_is_free,
        )

    def _check_replies(
        self, request: GreetingRequest, recipes: Sequence[CandidateRecipe], replies: Sequence[CandidateReply]
    ) -> list[WrittenCandidate]:
        earlier_texts, candidates = NearDuplicateIndex(GREETING_RULE), []
        for candidate_recipe, reply in zip(recipes, replies, strict=True):
            cleaned_text = clean_greeting(reply.text)
            fault_name = reply.fault or _candidate_fault(request, reply, cleaned_text, earlier_texts)
            candidates.append(
                WrittenCandidate(
                    candidate_recipe,
                    self.writers[candidate_recipe.generator].model_name,
                    reply,
                    cleaned_text,
                    fault_name,
                )
            )
        return candidates


def _candidate_fault(
    request: GreetingRequest, reply: CandidateReply, cleaned_text: str, earlier_texts: NearDuplicateIndex
) -> str | None:
    """What is wrong with a candidate, None where nothing is; it is then one of those before the next."""
    if (text_fault := find_fault(request, cleaned_text)) is not None:
        return text_fault.value
    if reply.cut:
        return CUT
    return None if earlier_texts.add_if_new(cleaned_text) is None else NEAR_DUPLICATE


def load_unwritten(session: Session, run_id: int, max_prompts: int) -> list[PendingPrompt]:
    """The next prompts that were kept and have no candidates."""
    prompt_rows = session.execute(
        select(RunPrompt.id, RunPrompt.position, RunPrompt.prompt_id, RunPrompt.text)
        .where(RunPrompt.run_id == run_id, RunPrompt.written.is_(False), RunPrompt.prompt_id.is_not(None))
        .order_by(RunPrompt.id)
        .limit(max_prompts)
    )
    return [
        PendingPrompt(run_prompt_id, position, prompt_id, prompt_text)
        for run_prompt_id, position, prompt_id, prompt_text in prompt_rows
        if prompt_id is not None
    ]


def store_candidates(
    database: Database, run_id: int, written_batch: Sequence[tuple[PendingPrompt, list[WrittenCandidate]]]
) -> None:
    """Keep what was written; a second writing of the same changes nothing."""
    with database.write() as session:
        dataset_id = session.get_one(PairRun, run_id).dataset_id
        greeting_ids = _store_greetings(session, dataset_id, written_batch)
        candidate_rows = [
            _candidate_row(run_id, pending_prompt, slot_index, candidate, greeting_ids)
            for pending_prompt, candidates in written_batch
            for slot_index, candidate in enumerate(candidates)
        ]
        insert_ignore(session, Candidate, candidate_rows)
        session.execute(
            update(RunPrompt),
            [{"id": pending_prompt.id, "written": True} for pending_prompt, _ in written_batch],
        )


def _store_greetings(
    session: Session, dataset_id: int, written_batch: Sequence[tuple[PendingPrompt, list[WrittenCandidate]]]
) -> dict[GreetingKey, int]:
    good_texts = [
        (pending_prompt, candidate.text)
        for pending_prompt, candidates in written_batch
        for candidate in candidates
        if candidate.fault is None
    ]
    insert_ignore(
        session,
        Greeting,
        [
            {
                "prompt_id": pending_prompt.prompt_id,
                "text": greeting_text,
                "text_hash": digest(greeting_text),
                "source": Source.MODEL,
            }
            for pending_prompt, greeting_text in good_texts
        ],
    )
    prompts_by_key = {str(pending_prompt.prompt_id): pending_prompt.prompt_id for pending_prompt, _ in good_texts}
    greeting_keys = {
        (str(pending_prompt.prompt_id), digest(greeting_text)) for pending_prompt, greeting_text in good_texts
    }
    greeting_ids = publish_greeting_ids(session, prompts_by_key, greeting_keys)
    dataset_entries = [
        {"dataset_id": dataset_id, "prompt_id": prompts_by_key[prompt_key], "greeting_id": greeting_id}
        for (prompt_key, _), greeting_id in greeting_ids.items()
    ]
    insert_ignore(session, DatasetEntry, dataset_entries)
    return greeting_ids


def _candidate_row(
    run_id: int,
    pending_prompt: PendingPrompt,
    slot_index: int,
    candidate: WrittenCandidate,
    greeting_ids: Mapping[GreetingKey, int],
) -> dict[str, Any]:
    passed_checks = candidate.fault is None
    return {
        "run_id": run_id,
        "run_prompt_id": pending_prompt.id,
        "slot": slot_index,
        "generator": candidate.recipe.generator,
        "model": candidate.model_name,
        "recipe": candidate.recipe.plain(),
        "call_id": candidate.reply.call_id,
        "text": candidate.text if passed_checks else storable_text(candidate.text[:FAULTY_TEXT_LIMIT]),
        "fault": candidate.fault,
        "greeting_id": greeting_ids[str(pending_prompt.prompt_id), digest(candidate.text)] if passed_checks else None,
    }


def prompt_drop_reason(request: GreetingRequest) -> str | None:
    """Why a request is not taken; None where it is."""
    if request.refusal is not None:
        return request.refusal.value
    return SEVERAL if request.count > 1 else None
