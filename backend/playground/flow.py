"""What flows back: greetings shown here go into the corpus when a researcher wants people or judges on them.

Only then do they leave the playground's own tables. They are a model's work (`Source.MODEL`), so no training
takes them for examples, and visitors' likes stay behind: those are not blind.
"""

from collections.abc import Collection, Sequence
from itertools import count
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.annotation.service import AnnotationService
from backend.corpus.occasion import occasion_of
from backend.corpus.rows import Row
from backend.corpus.store import store, target
from backend.db.engine import Database
from backend.db.insert import insert_ignore
from backend.db.play_tables import GreetingOrigin, PlayCard, PlayRound
from backend.db.tables import Greeting, Prompt
from backend.errors import UserError
from backend.jobs.records import JobInfo
from backend.playground.vocabulary import CardState
from backend.records import CampaignInfo, CampaignSpec
from backend.scoring import ScoringService
from backend.scoring.records import ScoreRequest
from backend.scoring.targets import Target, TargetKind
from backend.text import digest
from backend.vocabulary import CampaignKind, Source

KIND = "generated"
_PREFIX = "写祝福 · "
_LIMIT = 1_000
_SINGLE = "想象你要把它发给那个人：这条祝福优秀吗？凭感觉选，不必多想。"
_PAIR = "想象你要把它发给那个人：你更愿意发哪一条？凭感觉选，不必多想。"


class FlowBack:
    """From cards to a data set, a campaign or a scoring run."""

    def __init__(self, database: Database, annotation: AnnotationService, scoring: ScoringService) -> None:
        self._database = database
        self._annotation = annotation
        self._scoring = scoring

    def dataset(self, generator: str) -> str:
        """The data set that holds everything this generator showed here, brought up to date.

        Raises UserError where it has written nothing yet.
        """
        with self._database.write() as session:
            shown = _shown(session, generator)
            if not shown:
                raise UserError(
                    f"“{generator}” has written nothing here yet; write a few greetings first.",
                    f"“{generator}”还没有写过祝福，请先写几条。",
                )
            name = dataset_name(generator, shown[-1].model)
            rows = [_row(number, one) for number, one in enumerate(_unique(shown))]
            store(session, target(session, name, KIND, Source.MODEL, labelled=False), rows)
            _note_origins(session, generator, shown)
            return name

    def campaign(self, generators: Sequence[str], kind: CampaignKind, k: int = 1) -> CampaignInfo:
        """A campaign over what the generators showed. Comparing takes two, on the same requests.

        Raises UserError where there is nothing to annotate.
        """
        names = list(dict.fromkeys(generators))
        if kind is CampaignKind.COMPARE and len(names) != 2:
            raise UserError("Choose the two models to compare.", "请选择要对比的两个模型。")
        datasets = tuple(self.dataset(name) for name in names)
        across = (datasets[0], datasets[1]) if kind is CampaignKind.COMPARE else None
        spec = CampaignSpec(
            name=_campaign_name(datasets, {info.name for info in self._annotation.campaigns()}),
            kind=kind,
            k=k,
            instructions=_PAIR if across else _SINGLE,
            rubric=False,
            datasets=datasets,
            occasion=None,
            recipient=None,
            style=None,
            limit=_LIMIT,
            seed=1,
            judge=None,
        )
        return self._annotation.create_campaign(spec, across)

    def score(self, generator: str, judge: str) -> JobInfo:
        """Let a judge score what a generator showed, as a job. Raises NotFound, UserError."""
        spec = self._scoring.catalog.resolve(judge)
        return self._scoring.submit(ScoreRequest(spec, Target(TargetKind.DATASET, self.dataset(generator))))


class _Shown(NamedTuple):
    prompt: str
    text: str
    model: str


def dataset_name(generator: str, model: str) -> str:
    """What the data set of a generator is called."""
    return f"{_PREFIX}{model} · {generator}"[:120]


def _campaign_name(datasets: Sequence[str], taken: Collection[str]) -> str:
    short = " / ".join(name.removeprefix(_PREFIX) for name in datasets)[:50]
    return next(name for number in count(1) if (name := f"{short} · {number}") not in taken)


def _shown(session: Session, generator: str) -> list[_Shown]:
    rows = session.execute(
        select(PlayRound.prompt, PlayCard.text, PlayCard.model)
        .join(PlayRound, PlayRound.id == PlayCard.round_id)
        .where(PlayCard.generator == generator, PlayCard.state == CardState.DONE, PlayCard.text != "")
        .order_by(PlayCard.id)
    )
    return [_Shown(*row) for row in rows]


def _unique(shown: Sequence[_Shown]) -> list[_Shown]:
    return list({(one.prompt, one.text): one for one in shown}.values())


def _row(number: int, one: _Shown) -> Row:
    return Row(number, one.prompt, (one.text,), tags=(occasion_of(one.prompt), None, None))


def _note_origins(session: Session, generator: str, shown: Sequence[_Shown]) -> None:
    models = {(digest(prompt), digest(text)): model for prompt, text, model in shown}
    hashes = {prompt for prompt, _ in models}
    rows = session.execute(
        select(Greeting.id, Prompt.text_hash, Greeting.text_hash)
        .join(Prompt, Prompt.id == Greeting.prompt_id)
        .where(Prompt.text_hash.in_(hashes))
    )
    found = [
        {"greeting_id": id_, "generator": generator, "model": models[prompt, text]}
        for id_, prompt, text in rows
        if (prompt, text) in models
    ]
    insert_ignore(session, GreetingOrigin, found)
