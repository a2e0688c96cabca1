"""Looking at the corpus: data sets, tags, counts and pages of prompts, each with few queries."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Executable, distinct, func, select
from sqlalchemy.orm import Session

from backend.core.enums import RaterKind
from backend.core.errors import NotFound
from backend.corpus.records import DatasetInfo, Facets, GreetingRow, PromptPage, PromptRow
from backend.db.queries import current_rows
from backend.db.tables import (
    Comparison,
    Dataset,
    DatasetEntry,
    Greeting,
    PreferencePair,
    Prompt,
    Rater,
    Verdict,
)

# Greetings shown of one prompt; popular requests have hundreds.
SHOWN_GREETINGS = 20


@dataclass(frozen=True)
class CorpusFilter:
    """Which prompts to show."""

    dataset: str | None = None
    occasion: str | None = None
    recipient: str | None = None
    style: str | None = None
    search: str = ""


def require_dataset_id(session: Session, dataset_name: str) -> int:
    """The id of the data set called `dataset_name`. Raises NotFound with the names there are."""
    existing_id = session.scalar(select(Dataset.id).where(Dataset.name == dataset_name))
    if existing_id is None:
        available_names = ", ".join(session.scalars(select(Dataset.name).order_by(Dataset.id.desc()).limit(20))) or "–"
        raise NotFound(
            f"There is no data set called {dataset_name!r}; there are: {available_names}.",
            f"没有名为“{dataset_name}”的数据集，现有：{available_names}。",
        )
    return existing_id


def list_datasets(session: Session) -> list[DatasetInfo]:
    """Every data set, the newest first."""
    text_counts = {
        count_row[0]: (count_row[1], count_row[2])
        for count_row in session.execute(
            select(
                DatasetEntry.dataset_id,
                # A prompt has an entry for each of its greetings.
                func.count(distinct(DatasetEntry.prompt_id)),
                func.count(DatasetEntry.greeting_id),
            ).group_by(DatasetEntry.dataset_id)
        )
    }
    pair_counts = _counts_by(
        session, select(PreferencePair.dataset_id, func.count()).group_by(PreferencePair.dataset_id)
    )
    label_counts = _counts_by(
        session,
        # The labels of a data set are the verdicts of the rater that bears its name.
        select(Rater.name, func.count())
        .join(Verdict, Verdict.rater_id == Rater.id)
        .where(Rater.kind == RaterKind.DATASET, Verdict.value.is_not(None), current_rows(Verdict))
        .group_by(Rater.name),
    )
    return [
        DatasetInfo(
            id=dataset_record.id,
            name=dataset_record.name,
            kind=dataset_record.kind,
            prompts=text_counts.get(dataset_record.id, (0, 0))[0],
            greetings=text_counts.get(dataset_record.id, (0, 0))[1],
            pairs=pair_counts.get(dataset_record.id, 0),
            labels=label_counts.get(dataset_record.name, 0),
            created_at=dataset_record.created_at,
        )
        for dataset_record in session.scalars(select(Dataset).order_by(Dataset.id.desc()))
    ]


def _counts_by(session: Session, query: Executable) -> dict[Any, int]:
    return {count_row[0]: count_row[1] for count_row in session.execute(query)}


def count_tags(session: Session, dataset_name: str | None = None) -> Facets:
    """Tags of the prompts (of one data set), the commonest first."""

    def count_by_column(tag_column: Any) -> dict[str, int]:
        query = select(tag_column, func.count()).where(tag_column.is_not(None)).group_by(tag_column)
        if dataset_name is not None:
            query = query.where(_belongs_to_dataset(require_dataset_id(session, dataset_name)))
        return _counts_by(session, query.order_by(func.count().desc(), tag_column))

    return Facets(count_by_column(Prompt.occasion), count_by_column(Prompt.recipient), count_by_column(Prompt.style))


def _belongs_to_dataset(dataset_key: int) -> ColumnElement[bool]:
    return Prompt.id.in_(select(DatasetEntry.prompt_id).where(DatasetEntry.dataset_id == dataset_key))


def count_records(session: Session) -> dict[str, int]:
    """How much there is of everything; labels are the current verdicts of people and data sets."""
    counted_tables = {"prompts": Prompt, "greetings": Greeting, "pairs": PreferencePair, "datasets": Dataset}
    record_counts = {
        record_name: session.scalar(select(func.count()).select_from(record_table))
        for record_name, record_table in counted_tables.items()
    }
    verdict_counts = _counts_by(
        session,
        select(Rater.kind, func.count())
        .join(Verdict, Verdict.rater_id == Rater.id)
        .where(Verdict.value.is_not(None), current_rows(Verdict))
        .group_by(Rater.kind),
    )
    record_counts["labels"] = verdict_counts.get(RaterKind.HUMAN, 0) + verdict_counts.get(RaterKind.DATASET, 0)
    record_counts["comparisons"] = session.scalar(
        select(func.count(Comparison.id))
        .join(Rater, Rater.id == Comparison.rater_id)
        .where(Rater.kind == RaterKind.HUMAN, current_rows(Comparison))
    )
    record_counts["verdicts"] = sum(verdict_counts.values())
    return {record_name: record_count or 0 for record_name, record_count in record_counts.items()}


def browse(session: Session, corpus_filter: CorpusFilter, page_index: int = 0, page_size: int = 50) -> PromptPage:
    """One page of prompts with their greetings, in the order they came."""
    dataset_key = require_dataset_id(session, corpus_filter.dataset) if corpus_filter.dataset else None
    prompt_conditions = _conditions(corpus_filter, dataset_key)
    prompt_count = session.scalar(select(func.count()).select_from(Prompt).where(*prompt_conditions)) or 0
    prompts = session.scalars(
        select(Prompt)
        .where(*prompt_conditions)
        .order_by(Prompt.id)
        .offset(max(page_index, 0) * page_size)
        .limit(page_size)
    ).all()
    prompt_ids = [page_prompt.id for page_prompt in prompts]
    greetings = _load_greetings(session, prompt_ids, dataset_key)
    greeting_counts = _counts_by(
        session,
        select(Greeting.prompt_id, func.count())
        .where(*_greeting_conditions(prompt_ids, dataset_key))
        .group_by(Greeting.prompt_id),
    )
    return PromptPage(
        tuple(
            _prompt_row(page_prompt, greetings.get(page_prompt.id, []), greeting_counts.get(page_prompt.id, 0))
            for page_prompt in prompts
        ),
        prompt_count,
    )


def _conditions(corpus_filter: CorpusFilter, dataset_key: int | None) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if dataset_key is not None:
        conditions.append(_belongs_to_dataset(dataset_key))
    for tag_column, wanted_tag in (
        (Prompt.occasion, corpus_filter.occasion),
        (Prompt.recipient, corpus_filter.recipient),
        (Prompt.style, corpus_filter.style),
    ):
        if wanted_tag:
            conditions.append(tag_column == wanted_tag)
    if search_text := corpus_filter.search.strip():
        # A set rather than a correlated EXISTS: greetings are scanned once, not once a prompt.
        matching_prompts = select(Greeting.prompt_id).where(Greeting.text.contains(search_text, autoescape=True))
        conditions.append(Prompt.text.contains(search_text, autoescape=True) | Prompt.id.in_(matching_prompts))
    return conditions


def _greeting_conditions(prompt_ids: list[int], dataset_key: int | None) -> list[ColumnElement[bool]]:
    if dataset_key is None:
        return [Greeting.prompt_id.in_(prompt_ids)]
    member_greetings = select(DatasetEntry.greeting_id).where(
        DatasetEntry.dataset_id == dataset_key,
        DatasetEntry.prompt_id.in_(prompt_ids),
        DatasetEntry.greeting_id.is_not(None),
    )
    return [Greeting.id.in_(member_greetings)]


def _load_greetings(session: Session, prompt_ids: list[int], dataset_key: int | None) -> dict[int, list[GreetingRow]]:
    # One query for the first greetings of all prompts of the page, however many the popular ones have.
    greeting_rank = func.row_number().over(partition_by=Greeting.prompt_id, order_by=Greeting.id).label("place")
    ranked_greetings = (
        select(Greeting.id, Greeting.prompt_id, Greeting.text, Greeting.source, greeting_rank)
        .where(*_greeting_conditions(prompt_ids, dataset_key))
        .subquery()
    )
    greeting_rows = session.execute(
        select(ranked_greetings).where(ranked_greetings.c.place <= SHOWN_GREETINGS).order_by(ranked_greetings.c.id)
    ).all()
    greeting_labels = _load_labels(session, [greeting_row.id for greeting_row in greeting_rows], dataset_key)
    greetings_by_prompt: dict[int, list[GreetingRow]] = {}
    for greeting_row in greeting_rows:
        label_value, label_reason = greeting_labels.get(greeting_row.id, (None, ""))
        greetings_by_prompt.setdefault(greeting_row.prompt_id, []).append(
            GreetingRow(greeting_row.id, greeting_row.text, greeting_row.source.value, label_value, label_reason)
        )
    return greetings_by_prompt


def _load_labels(
    session: Session, greeting_ids: list[int], dataset_key: int | None
) -> dict[int, tuple[float | None, str]]:
    """What data sets say of the greetings; of several the newest."""
    query = (
        select(Verdict.greeting_id, Verdict.value, Verdict.reason)
        .join(Rater, Rater.id == Verdict.rater_id)
        .where(Rater.kind == RaterKind.DATASET, Verdict.greeting_id.in_(greeting_ids), current_rows(Verdict))
        # Ascending, so that in the dictionary below the newest label replaces older ones.
        .order_by(Verdict.id)
    )
    if dataset_key is not None:
        query = query.where(Rater.name == select(Dataset.name).where(Dataset.id == dataset_key).scalar_subquery())
    return {
        greeting_id: (label_value, label_reason) for greeting_id, label_value, label_reason in session.execute(query)
    }


def _prompt_row(prompt_record: Prompt, greetings: list[GreetingRow], greeting_count: int) -> PromptRow:
    return PromptRow(
        id=prompt_record.id,
        text=prompt_record.text,
        occasion=prompt_record.occasion,
        recipient=prompt_record.recipient,
        style=prompt_record.style,
        split=prompt_record.split.value,
        greetings=tuple(greetings),
        greeting_count=greeting_count,
    )
