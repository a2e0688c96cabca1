"""The first stage: which lines are requests for one greeting, each counted once."""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from backend.corpus import split_of
from backend.corpus.facts import stored_prompt_ids
from backend.db.engine import Database
from backend.db.insert import insert_ignore
from backend.db.pair_tables import PairRun, RunPrompt
from backend.db.tables import DatasetEntry, Prompt
from backend.pairs.rules import DUPLICATE, NEAR_DUPLICATE, lost_of, read_wish
from backend.text import digest, squeeze
from backend.writing.near import PROMPTS, Seen

PAGE = 1_000


class Sieve:
    """Reads lines in order and remembers what it kept, so that the second of two alike is the one lost."""

    def __init__(self) -> None:
        self._seen: set[bytes] = set()
        self._near = Seen(PROMPTS)

    def keep(self, text: str) -> None:
        """Take note of a request that was kept before."""
        self._seen.add(_mark(text))
        self._near.add(text)

    def lost(self, text: str) -> str | None:
        """Why the line is lost; None where it is kept, and then remembered."""
        if (why := lost_of(read_wish(text))) is not None:
            return why
        if _mark(text) in self._seen:
            return DUPLICATE
        if self._near.add(text) is not None:
            return NEAR_DUPLICATE
        self._seen.add(_mark(text))
        return None


def filter_run(database: Database, run_id: int, each: Callable[[], None] = lambda: None) -> None:
    """Look at every line that nobody has looked at; a run that was killed here goes on where it was.

    `each` is called after every page, and may end it by raising.
    """
    sieve = Sieve()
    with database.read() as session:
        kept = select(RunPrompt.text).where(RunPrompt.run_id == run_id, RunPrompt.prompt_id.is_not(None))
        for text in session.scalars(kept.order_by(RunPrompt.position).execution_options(yield_per=PAGE)):
            sieve.keep(text)
    while True:
        with database.read() as session:
            page = session.execute(
                select(RunPrompt.id, RunPrompt.text)
                .where(RunPrompt.run_id == run_id, RunPrompt.prompt_id.is_(None), RunPrompt.lost.is_(None))
                .order_by(RunPrompt.position)
                .limit(PAGE)
            ).all()
        if not page:
            return
        looked = [(row.id, row.text, sieve.lost(row.text)) for row in page]
        with database.write() as session:
            _store(session, run_id, looked)
        each()


def _store(session: Session, run_id: int, looked: Sequence[tuple[int, str, str | None]]) -> None:
    texts = {digest(text): text for _, text, lost in looked if lost is None}
    insert_ignore(session, Prompt, [_prompt(hash_, text) for hash_, text in texts.items()])
    ids = stored_prompt_ids(session, texts)
    dataset = session.get_one(PairRun, run_id).dataset_id
    entries = [{"dataset_id": dataset, "prompt_id": id_, "greeting_id": None} for id_ in ids.values()]
    insert_ignore(session, DatasetEntry, entries)
    rows = [
        {
            "id": id_,
            "prompt_id": None if lost else ids[digest(text)],
            "lost": lost,
            "exact_chars": read_wish(text).exact_chars,
        }
        for id_, text, lost in looked
    ]
    session.execute(update(RunPrompt), rows)


def _prompt(hash_: str, text: str) -> dict[str, Any]:
    return {"text": text, "text_hash": hash_, "split": split_of(text)}


def _mark(text: str) -> bytes:
    return bytes.fromhex(digest(squeeze(text))[:24])
