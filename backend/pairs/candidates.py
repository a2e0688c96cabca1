"""The second stage: candidates for a chunk of prompts, checked, and those that pass made greetings."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from backend.agents.plan import MOST, Plan, Recipe
from backend.agents.writing import Pen, Said, as_asked, write
from backend.corpus.facts import GreetingKey, stored_greeting_ids
from backend.db.engine import Database
from backend.db.insert import insert_ignore
from backend.db.pair_tables import Candidate, PairRun, RunPrompt
from backend.db.tables import DatasetEntry, Greeting
from backend.judges.base import Sample
from backend.judges.panel import Retriever
from backend.llm.messages import storable
from backend.pairs.rules import CUT, NEAR_DUPLICATE, Wish, clean, fault_of, read_wish
from backend.text import digest
from backend.vocabulary import Source
from backend.writing.near import GREETINGS, Seen

SEEDS = 2**31
SHOWN = 2_000
"""Characters that are kept of a text that failed a check."""


@dataclass(frozen=True)
class Asked:
    """A kept prompt that has no candidates yet."""

    id: int
    position: int
    prompt_id: int
    text: str


@dataclass(frozen=True)
class Slot:
    """One candidate as it will be stored."""

    recipe: Recipe
    model: str
    said: Said
    text: str
    fault: str | None


@dataclass(frozen=True)
class Desk:
    """What writing needs: the plan, the generators by name, the examples and a seed."""

    plan: Plan
    pens: Mapping[str, Pen]
    retriever: Retriever
    seed: int = 0
    examples: int = field(default=3)

    async def write(self, asked: Asked) -> list[Slot]:
        """Every candidate of one prompt. Raises LLMError only where it ends the whole run."""
        wish = read_wish(asked.text)
        recipes = [as_asked(self.pens[one.generator], one) for one in self.plan.recipes(asked.position)]
        shown: Sequence[Sample] = ()
        if any(recipe.examples for recipe in recipes):
            shown = (await self.retriever.examples(asked.text))[: self.examples]
        # Each call is awaited to its end, so that what is paid for is kept; then errors rise.
        said = await asyncio.gather(
            *(self._one(asked, wish, slot, recipe, shown) for slot, recipe in enumerate(recipes)),
            return_exceptions=True,
        )
        for one in said:
            if isinstance(one, BaseException):
                raise one
        return self._checked(wish, recipes, [one for one in said if isinstance(one, Said)])

    async def _one(
        self, asked: Asked, wish: Wish, slot: int, recipe: Recipe, shown: Sequence[Sample]
    ) -> Said:
        seed = (self.seed + asked.position * MOST + slot) % SEEDS
        free = wish.exact_chars is None and wish.max_chars is None
        return await write(self.pens[recipe.generator], recipe, asked.text, shown, seed, free=free)

    def _checked(self, wish: Wish, recipes: Sequence[Recipe], said: Sequence[Said]) -> list[Slot]:
        before, slots = Seen(GREETINGS), []
        for recipe, one in zip(recipes, said, strict=True):
            text = clean(one.text)
            fault = one.fault or _fault(wish, one, text, before)
            slots.append(Slot(recipe, self.pens[recipe.generator].model, one, text, fault))
        return slots


def _fault(wish: Wish, said: Said, text: str, before: Seen) -> str | None:
    """What is wrong with a candidate, None where nothing is; it is then one of those before the next."""
    if (found := fault_of(wish, text)) is not None:
        return found.value
    if said.cut:
        return CUT
    return None if before.add(text) is None else NEAR_DUPLICATE


def unwritten(session: Session, run_id: int, limit: int) -> list[Asked]:
    """The next prompts that were kept and have no candidates."""
    rows = session.execute(
        select(RunPrompt.id, RunPrompt.position, RunPrompt.prompt_id, RunPrompt.text)
        .where(RunPrompt.run_id == run_id, RunPrompt.written.is_(False), RunPrompt.prompt_id.is_not(None))
        .order_by(RunPrompt.id)
        .limit(limit)
    )
    return [Asked(id_, at, prompt, text) for id_, at, prompt, text in rows if prompt is not None]


def store(database: Database, run_id: int, written: Sequence[tuple[Asked, list[Slot]]]) -> None:
    """Keep what was written; a second writing of the same changes nothing."""
    with database.write() as session:
        dataset = session.get_one(PairRun, run_id).dataset_id
        ids = _greetings(session, dataset, written)
        rows = [
            _row(run_id, asked, number, slot, ids)
            for asked, slots in written
            for number, slot in enumerate(slots)
        ]
        insert_ignore(session, Candidate, rows)
        session.execute(update(RunPrompt), [{"id": asked.id, "written": True} for asked, _ in written])


def _greetings(
    session: Session, dataset: int, written: Sequence[tuple[Asked, list[Slot]]]
) -> dict[GreetingKey, int]:
    good = [(asked, slot.text) for asked, slots in written for slot in slots if slot.fault is None]
    insert_ignore(
        session,
        Greeting,
        [
            {"prompt_id": asked.prompt_id, "text": text, "text_hash": digest(text), "source": Source.MODEL}
            for asked, text in good
        ],
    )
    prompts = {str(asked.prompt_id): asked.prompt_id for asked, _ in good}
    keys = {(str(asked.prompt_id), digest(text)) for asked, text in good}
    ids = stored_greeting_ids(session, prompts, keys)
    entries = [
        {"dataset_id": dataset, "prompt_id": prompts[prompt], "greeting_id": id_}
        for (prompt, _), id_ in ids.items()
    ]
    insert_ignore(session, DatasetEntry, entries)
    return ids


def _row(
    run_id: int, asked: Asked, number: int, slot: Slot, ids: Mapping[GreetingKey, int]
) -> dict[str, Any]:
    kept = slot.fault is None
    return {
        "run_id": run_id,
        "run_prompt_id": asked.id,
        "slot": number,
        "generator": slot.recipe.generator,
        "model": slot.model,
        "recipe": slot.recipe.plain(),
        "call_id": slot.said.call_id,
        "text": slot.text if kept else storable(slot.text[:SHOWN]),
        "fault": slot.fault,
        "greeting_id": ids[str(asked.prompt_id), digest(slot.text)] if kept else None,
    }
