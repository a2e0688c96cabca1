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
from backend.core.stored_records import stored_json
from backend.core.text import digest
from backend.corpus.facts import GreetingKey, publish_greeting_ids
from backend.db.base import insert_ignore
from backend.db.engine import Database
from backend.db.pair_tables import Candidate, PairRun, RunPrompt
from backend.db.tables import DatasetEntry, Greeting
from backend.generation.checks import clean_greeting, find_fault
from backend.generation.near_duplicates import GREETING_RULE, NearDuplicateIndex
from backend.generation.request import GreetingRequest, parse_request
from backend.generation.writer import GreetingWriter, WritingInstructions, WrittenGreeting
from backend.judges.base import Sample
from backend.judges.panel import Retriever
from backend.llm.errors import LLMErrorKind
from backend.llm.messages import storable_text
from backend.llm.prompts import PromptTemplate, UntrustedText, load_template
from backend.preferences.plan import MAX_CANDIDATES, CandidatePlan, CandidateRecipe, RequestedLength

# Stored as the reason of a dropped line or candidate, and counted by these words in every funnel.
DUPLICATE, NEAR_DUPLICATE, UNREADABLE = "duplicate", "near_duplicate", "unreadable"
# A request for several greetings: a pair compares single ones, so there is no fair candidate for it.
SEVERAL = "several"
NO_EXAMPLES_TEXT = "（无）"
# Part of the prompt, so of the key of every stored call: with another wording a paused run would ask anew.
LENGTH_INSTRUCTIONS = {
    RequestedLength.FREE: "没有要求字数，就写二十到八十个字。",
    RequestedLength.SHORT: "写得短而精：十到三十个字。",
    RequestedLength.LONG: "写得充实些：六十到一百二十个字。",
}
UNANSWERED_CALL, EMPTY_REPLY, REFUSED_REPLY = "unanswered", "empty", "refused"
# The funnel counts a reply without text, and one that the provider held back, as it does the same of a text that
# came; every other broken call says nothing about the model.
_FAULT_BY_ERROR = {LLMErrorKind.EMPTY.value: EMPTY_REPLY, LLMErrorKind.FILTERED.value: REFUSED_REPLY}


@cache
def writing_template() -> PromptTemplate:
    """What is asked of a generator that was not trained here."""
    return load_template("write", Path(__file__).parent / "prompts")


def effective_recipe(requested_recipe: CandidateRecipe, *, trained: bool) -> CandidateRecipe:
    """The recipe as a generator can follow it: one trained here is shown no examples and asked for no length."""
    # The stored recipe must not claim what the model never saw, or the funnel by setting would be wrong.
    return replace(requested_recipe, examples=False, wished=RequestedLength.FREE) if trained else requested_recipe


def writing_instructions(
    candidate_recipe: CandidateRecipe, examples: Sequence[Sample], *, length_is_free: bool
) -> WritingInstructions:
    """How a candidate is asked for. `length_is_free` says that the request itself fixes no length."""
    example_lines = "\n".join(
        f"{example_number}. 请求：{example.prompt}\n   祝福：{example.greeting}"
        for example_number, example in enumerate(examples, 1)
    )
    shows_examples = candidate_recipe.examples and bool(example_lines)
    return WritingInstructions(
        writing_template(),
        {
            # Examples are texts of others: fenced, so that an instruction inside one stays a quotation.
            "examples": UntrustedText(example_lines, "范例") if shows_examples else NO_EXAMPLES_TEXT,
            # A request that fixes its own length is not overruled.
            "length": LENGTH_INSTRUCTIONS[candidate_recipe.wished] if length_is_free else "",
        },
    )


# Part of the key of every stored call: with another figure a run that was stopped would be asked anew.
SEED_SPACE = 2**31
# Characters that are kept of a text that failed a check.
FAULTY_TEXT_LIMIT = 2_000


@dataclass(frozen=True)
class PendingPrompt:
    """A prompt that passed the filter and has no candidates yet; `position` is its line in the run, from 0."""

    id: int
    position: int
    prompt_id: int
    text: str


@dataclass(frozen=True)
class WrittenCandidate:
    """One candidate as it will be stored: `text` is the cleaned one, `fault` None where it passed every check."""

    recipe: CandidateRecipe
    model_name: str
    written: WrittenGreeting
    text: str
    fault: str | None


@dataclass(frozen=True)
class CandidateProducer:
    """Writes the candidates of prompts: by which plan, with which writers by generator, examples and seed."""

    plan: CandidatePlan
    writers: Mapping[str, GreetingWriter]
    retriever: Retriever
    seed: int = 0
    example_count: int = field(default=3)

    async def write(self, pending_prompt: PendingPrompt) -> list[WrittenCandidate]:
        """Every candidate of one prompt. Raises LLMError only where it ends the whole run."""
        request = parse_request(pending_prompt.text)
        recipes = [
            effective_recipe(planned_recipe, trained=self.writers[planned_recipe.generator].trained)
            for planned_recipe in self.plan.prompt_recipes(pending_prompt.position)
        ]
        shown_examples: Sequence[Sample] = ()
        # Looked for once a prompt and only where shown: retrieval by meaning is a paid call of the run.
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
            request, recipes, [outcome for outcome in outcomes if isinstance(outcome, WrittenGreeting)]
        )

    async def _write_one(
        self,
        pending_prompt: PendingPrompt,
        request: GreetingRequest,
        slot_index: int,
        candidate_recipe: CandidateRecipe,
        shown_examples: Sequence[Sample],
    ) -> WrittenGreeting:
        # The seed follows from the place alone, so that a run that goes on finds its finished calls in the ledger.
        draw_seed = (self.seed + pending_prompt.position * MAX_CANDIDATES + slot_index) % SEED_SPACE
        length_is_free = request.exact_chars is None and request.max_chars is None
        writer = self.writers[candidate_recipe.generator]
        return await writer.write_one(
            pending_prompt.text,
            replace(writer.sampling, temperature=candidate_recipe.temperature, seed=draw_seed),
            writing_instructions(candidate_recipe, shown_examples, length_is_free=length_is_free),
        )

    def _check_replies(
        self,
        request: GreetingRequest,
        recipes: Sequence[CandidateRecipe],
        written_greetings: Sequence[WrittenGreeting],
    ) -> list[WrittenCandidate]:
        # In the order of the plan: of two alike the second is the near-duplicate, whichever came first.
        earlier_texts, candidates = NearDuplicateIndex(GREETING_RULE), []
        for candidate_recipe, written in zip(recipes, written_greetings, strict=True):
            # Of what the model sent, thoughts included: a text with a fault is stored for people to look at.
            cleaned_text = clean_greeting(written.raw_text)
            fault_name = (
                _FAULT_BY_ERROR.get(written.kind, UNANSWERED_CALL)
                if written.error is not None
                else _candidate_fault(request, cleaned_text, earlier_texts, was_cut=written.cut)
            )
            model_name = self.writers[candidate_recipe.generator].model_name
            candidates.append(WrittenCandidate(candidate_recipe, model_name, written, cleaned_text, fault_name))
        return candidates


def _candidate_fault(
    request: GreetingRequest, cleaned_text: str, earlier_texts: NearDuplicateIndex, *, was_cut: bool
) -> str | None:
    """What is wrong with a candidate; where nothing is, it is None and the text joins the earlier ones."""
    # Faults first: a faulty text must not make a sound one after it a near-duplicate.
    if (text_fault := find_fault(request, cleaned_text, was_cut=was_cut)) is not None:
        return text_fault.value
    return None if earlier_texts.add_if_new(cleaned_text) is None else NEAR_DUPLICATE


def load_unwritten(session: Session, run_id: int, max_prompts: int) -> list[PendingPrompt]:
    """The next prompts that were kept and have no candidates."""
    prompt_rows = session.execute(
        select(RunPrompt.id, RunPrompt.position, RunPrompt.prompt_id, RunPrompt.text)
        # No offset: prompts leave this list when their candidates are stored, in a killed run too.
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
    """Store the candidates of these prompts, all in one transaction; storing the same again changes nothing."""
    with database.write() as session:
        dataset_id = session.get_one(PairRun, run_id).dataset_id
        # Greetings, candidates and the mark that the prompt is written go in together: killed in between, the
        # calls are found in the ledger and everything is stored at the next attempt.
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
    # A text with a fault is no greeting of the corpus; it stays with the candidate, for people to look at.
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
    # Published, since an unfinished import may have stored the same text before, which nobody sees yet.
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
        "recipe": stored_json(candidate.recipe),
        "call_id": candidate.written.call_id,
        # A faulty text may be garbage of any length, with NUL
        # or lone surrogates, which PostgreSQL does not take.
        "text": candidate.text if passed_checks else storable_text(candidate.text[:FAULTY_TEXT_LIMIT]),
        "fault": candidate.fault,
        "greeting_id": greeting_ids[str(pending_prompt.prompt_id), digest(candidate.text)] if passed_checks else None,
    }


def prompt_drop_reason(request: GreetingRequest) -> str | None:
    """Why a request is not taken; None where it is."""
    if request.refusal is not None:
        return request.refusal.value
    return SEVERAL if request.count > 1 else None
