"""The second stage: candidates for a chunk of prompts, checked, and those that pass made greetings."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from backend.agents.plan import MAX_CANDIDATES, CandidatePlan, CandidateRecipe
from backend.agents.writing import CandidateReply, CandidateWriter, effective_recipe, write_candidate
from backend.corpus.facts import GreetingKey, publish_greeting_ids
from backend.db.engine import Database
from backend.db.insert import insert_ignore
from backend.db.pair_tables import Candidate, PairRun, RunPrompt
from backend.db.tables import DatasetEntry, Greeting
from backend.judges.base import Sample
from backend.judges.panel import Retriever
from backend.llm.messages import storable_text
from backend.pairs.rules import (
    CUT,
    NEAR_DUPLICATE,
    GreetingRequest,
    clean_greeting,
    find_fault,
    parse_request,
)
from backend.text import digest
from backend.vocabulary import Source
from backend.writing.near import GREETING_RULE, NearDuplicateIndex

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
