"""What flows back: greetings shown here go into the corpus when a researcher wants people or judges on them.

Only then do they leave the playground's own tables. They are a model's work (`Source.MODEL`), so no training
takes them for examples, and visitors' likes stay behind: those are not blind.
"""

from collections.abc import Collection, Sequence
from itertools import count
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.annotation.records import CampaignInfo, CampaignSpec
from backend.annotation.service import AnnotationService
from backend.core.enums import CampaignKind, CardState, Source
from backend.core.errors import UserError
from backend.core.text import digest
from backend.corpus.occasion import detect_occasion
from backend.corpus.rows import ImportRow
from backend.corpus.store import prepare_target, store_chunk
from backend.db.base import insert_ignore
from backend.db.engine import Database
from backend.db.play_tables import GreetingOrigin, PlayCard, PlayRound
from backend.db.tables import Greeting, Prompt
from backend.jobs.records import JobInfo
from backend.judges.scoring.records import ScoreRequest
from backend.judges.scoring.service import ScoringService
from backend.judges.scoring.targets import ScoringTarget, TargetKind

DATASET_KIND = "generated"
# Part of stored names: with another prefix each generator would get a second data set.
_DATASET_PREFIX = "写祝福 · "
_CAMPAIGN_LIMIT = 1_000
# Read by annotators and stored in every campaign: another wording would make campaigns incomparable.
_SINGLE_INSTRUCTIONS = "想象你要把它发给那个人：这条祝福优秀吗？凭感觉选，不必多想。"
_PAIR_INSTRUCTIONS = "想象你要把它发给那个人：你更愿意发哪一条？凭感觉选，不必多想。"


class FlowBack:
    """From cards to a data set, a campaign or a scoring run."""

    def __init__(self, database: Database, annotation: AnnotationService, scoring: ScoringService) -> None:
        self._database = database
        self._annotation = annotation
        self._scoring = scoring

    def update_dataset(self, generator_name: str) -> str:
        """The data set that holds everything this generator showed here, brought up to date.

        Raises UserError where it has written nothing yet.
        """
        # One transaction for greetings and origins: without its
        # origin a greeting would count for no model on the board.
        with self._database.write() as session:
            shown_greetings = _load_shown(session, generator_name)
            if not shown_greetings:
                raise UserError(
                    f"“{generator_name}” has written nothing here yet; write a few greetings first.",
                    f"“{generator_name}”还没有写过祝福，请先写几条。",
                )
            # The newest model gives the name: behind one generator's name another model may answer by now.
            target_name = dataset_name(generator_name, shown_greetings[-1].model)
            corpus_rows = [
                _corpus_row(row_number, shown_greeting)
                for row_number, shown_greeting in enumerate(_unique_greetings(shown_greetings))
            ]
            store_chunk(
                session,
                prepare_target(session, target_name, DATASET_KIND, Source.MODEL, labelled=False),
                corpus_rows,
            )
            _store_origins(session, generator_name, shown_greetings)
            return target_name

    def create_campaign(
        self, generator_names: Sequence[str], campaign_kind: CampaignKind, raters_per_item: int = 1
    ) -> CampaignInfo:
        """A campaign over what the generators showed. Comparing takes two, on the same requests.

        Raises UserError where there is nothing to annotate.
        """
        unique_names = list(dict.fromkeys(generator_names))
        if campaign_kind is CampaignKind.COMPARE and len(unique_names) != 2:
            raise UserError("Choose the two models to compare.", "请选择要对比的两个模型。")
        dataset_names = tuple(self.update_dataset(generator_name) for generator_name in unique_names)
        # In the order chosen; which of two is shown first is drawn anew for each item.
        compared_datasets = (dataset_names[0], dataset_names[1]) if campaign_kind is CampaignKind.COMPARE else None
        campaign_spec = CampaignSpec(
            name=_free_campaign_name(
                dataset_names, {campaign_info.name for campaign_info in self._annotation.campaigns()}
            ),
            kind=campaign_kind,
            k=raters_per_item,
            instructions=_PAIR_INSTRUCTIONS if compared_datasets else _SINGLE_INSTRUCTIONS,
            rubric=False,  # a quick impression of many greetings, as visitors have it
            datasets=dataset_names,
            occasion=None,
            recipient=None,
            style=None,
            limit=_CAMPAIGN_LIMIT,
            seed=1,
            judge=None,
        )
        return self._annotation.create_campaign(campaign_spec, compared_datasets)

    def submit_scoring(self, generator_name: str, judge_name: str) -> JobInfo:
        """Let a judge score what a generator showed, as a job. Raises NotFound, UserError."""
        # Before the data set is brought up to date: an unknown judge must leave nothing behind.
        judge_spec = self._scoring.catalog.resolve(judge_name)
        return self._scoring.submit(
            ScoreRequest(judge_spec, ScoringTarget(TargetKind.DATASET, self.update_dataset(generator_name)))
        )


class _ShownGreeting(NamedTuple):
    prompt: str
    text: str
    model: str


def dataset_name(generator_name: str, model_name: str) -> str:
    """What the data set of a generator is called, at most 120 characters."""
    # 120 characters are what the column of names holds; PostgreSQL refuses more.
    return f"{_DATASET_PREFIX}{model_name} · {generator_name}"[:120]


def _free_campaign_name(dataset_names: Sequence[str], taken_names: Collection[str]) -> str:
    short_name = " / ".join(campaign_name.removeprefix(_DATASET_PREFIX) for campaign_name in dataset_names)[:50]
    return next(
        campaign_name
        for name_suffix in count(1)
        if (campaign_name := f"{short_name} · {name_suffix}") not in taken_names
    )


def _load_shown(session: Session, generator_name: str) -> list[_ShownGreeting]:
    card_rows = session.execute(
        select(PlayRound.prompt, PlayCard.text, PlayCard.model)
        .join(PlayRound, PlayRound.id == PlayCard.round_id)
        # Finished cards only: a text that was stopped or broke off says nothing about the model.
        .where(PlayCard.generator == generator_name, PlayCard.state == CardState.DONE, PlayCard.text != "")
        .order_by(PlayCard.id)
    )
    return [_ShownGreeting(*card_row) for card_row in card_rows]


def _unique_greetings(shown_greetings: Sequence[_ShownGreeting]) -> list[_ShownGreeting]:
    # The same seed writes the same text again for every visitor who asks the same: one of them is enough.
    return list(
        {(shown_greeting.prompt, shown_greeting.text): shown_greeting for shown_greeting in shown_greetings}.values()
    )


def _corpus_row(row_number: int, shown_greeting: _ShownGreeting) -> ImportRow:
    return ImportRow(
        row_number,
        shown_greeting.prompt,
        (shown_greeting.text,),
        tags=(detect_occasion(shown_greeting.prompt), None, None),
    )


def _store_origins(session: Session, generator_name: str, shown_greetings: Sequence[_ShownGreeting]) -> None:
    model_by_hashes = {
        (digest(shown_greeting.prompt), digest(shown_greeting.text)): shown_greeting.model
        for shown_greeting in shown_greetings
    }
    prompt_hashes = {prompt_hash for prompt_hash, _ in model_by_hashes}
    greeting_rows = session.execute(
        select(Greeting.id, Prompt.text_hash, Greeting.text_hash)
        .join(Prompt, Prompt.id == Greeting.prompt_id)
        .where(Prompt.text_hash.in_(prompt_hashes))
    )
    origin_rows = [
        {
            "greeting_id": greeting_id,
            "generator": generator_name,
            "model": model_by_hashes[prompt_hash, text_hash],
        }
        for greeting_id, prompt_hash, text_hash in greeting_rows
        if (prompt_hash, text_hash) in model_by_hashes
    ]
    # Brought up to date again and again: an origin noted before is passed over.
    insert_ignore(session, GreetingOrigin, origin_rows)
