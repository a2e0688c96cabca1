"""The first stage: which lines are requests for one greeting, each counted once."""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from backend.corpus import assign_split
from backend.corpus.facts import publish_prompt_ids
from backend.db.engine import Database
from backend.db.insert import insert_ignore
from backend.db.pair_tables import PairRun, RunPrompt
from backend.db.tables import DatasetEntry, Prompt
from backend.pairs.rules import DUPLICATE, NEAR_DUPLICATE, parse_request, prompt_drop_reason
from backend.text import digest, strip_white_space
from backend.writing.near import PROMPT_RULE, NearDuplicateIndex

PAGE = 1_000


class PromptFilter:
    """Reads lines in order and remembers what it kept, so that the second of two alike is the one lost."""

    def __init__(self) -> None:
        self._fingerprints: set[bytes] = set()
        self._near_duplicates = NearDuplicateIndex(PROMPT_RULE)

    def remember(self, prompt_text: str) -> None:
        """Take note of a request that was kept before."""
        self._fingerprints.add(_text_fingerprint(prompt_text))
        self._near_duplicates.add_if_new(prompt_text)

    def drop_reason(self, prompt_text: str) -> str | None:
        """Why the line is lost; None where it is kept, and then remembered."""
        if (drop_reason := prompt_drop_reason(parse_request(prompt_text))) is not None:
            return drop_reason
        if _text_fingerprint(prompt_text) in self._fingerprints:
            return DUPLICATE
        if self._near_duplicates.add_if_new(prompt_text) is not None:
            return NEAR_DUPLICATE
        self._fingerprints.add(_text_fingerprint(prompt_text))
        return None


def filter_prompts(database: Database, run_id: int, after_page: Callable[[], None] = lambda: None) -> None:
    """Look at every line that nobody has looked at; a run that was killed here goes on where it was.

    `each` is called after every page, and may end it by raising.
    """
    prompt_filter = PromptFilter()
    with database.read() as session:
        passed_texts = select(RunPrompt.text).where(RunPrompt.run_id == run_id, RunPrompt.prompt_id.is_not(None))
        for prompt_text in session.scalars(passed_texts.order_by(RunPrompt.position).execution_options(yield_per=PAGE)):
            prompt_filter.remember(prompt_text)
    while True:
        with database.read() as session:
            row_page = session.execute(
                select(RunPrompt.id, RunPrompt.text)
                .where(RunPrompt.run_id == run_id, RunPrompt.prompt_id.is_(None), RunPrompt.lost.is_(None))
                .order_by(RunPrompt.position)
                .limit(PAGE)
            ).all()
        if not row_page:
            return
        decisions = [
            (prompt_row.id, prompt_row.text, prompt_filter.drop_reason(prompt_row.text)) for prompt_row in row_page
        ]
        with database.write() as session:
            _store(session, run_id, decisions)
        after_page()


def _store(session: Session, run_id: int, decisions: Sequence[tuple[int, str, str | None]]) -> None:
    texts_by_hash = {
        digest(prompt_text): prompt_text for _, prompt_text, drop_reason in decisions if drop_reason is None
    }
    insert_ignore(
        session,
        Prompt,
        [_prompt_row(text_hash, prompt_text) for text_hash, prompt_text in texts_by_hash.items()],
    )
    prompt_ids = publish_prompt_ids(session, texts_by_hash)
    dataset_id = session.get_one(PairRun, run_id).dataset_id
    dataset_entries = [
        {"dataset_id": dataset_id, "prompt_id": record_id, "greeting_id": None} for record_id in prompt_ids.values()
    ]
    insert_ignore(session, DatasetEntry, dataset_entries)
    prompt_updates = [
        {
            "id": record_id,
            "prompt_id": None if drop_reason else prompt_ids[digest(prompt_text)],
            "lost": drop_reason,
            "exact_chars": parse_request(prompt_text).exact_chars,
        }
        for record_id, prompt_text, drop_reason in decisions
    ]
    session.execute(update(RunPrompt), prompt_updates)


def _prompt_row(text_hash: str, prompt_text: str) -> dict[str, Any]:
    return {"text": prompt_text, "text_hash": text_hash, "split": assign_split(prompt_text)}


def _text_fingerprint(prompt_text: str) -> bytes:
    return bytes.fromhex(digest(strip_white_space(prompt_text))[:24])
