"""The one place that wires settings, database and services together."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from backend.agreement.board import BoardService
from backend.annotation.records import CampaignSpec
from backend.annotation.service import AnnotationService
from backend.core.enums import CampaignKind
from backend.core.files import create_home_folder
from backend.core.settings import Settings
from backend.corpus.service import CorpusService
from backend.db.engine import Database
from backend.db.migrate import migrate
from backend.generation.generators import GeneratorService
from backend.job_programs import JOB_PROGRAMS
from backend.jobs.records import JobOptions
from backend.jobs.service import JobService
from backend.judges.examples import ExampleService
from backend.judges.scoring.service import ScoringService
from backend.llm.endpoints import EndpointService
from backend.playground.flow import FlowBack
from backend.playground.service import CardJudges, PlayService
from backend.preferences.ablation import Ablation
from backend.preferences.service import PairService
from backend.principles.service import EvolutionService

# The stored name of the seed corpus; `load_seed` gives it.
SEED_DATASET = "seed"


@dataclass(frozen=True)
class Services:
    """Every service of one home folder, wired once; pages and commands reach the rooms through it. Close it."""

    settings: Settings
    database: Database
    corpus: CorpusService
    annotation: AnnotationService
    endpoints: EndpointService
    jobs: JobService
    examples: ExampleService
    scoring: ScoringService
    board: BoardService
    generators: GeneratorService
    pairs: PairService
    ablation: Ablation
    play: PlayService
    card_judges: CardJudges
    flow: FlowBack
    evolution: EvolutionService

    def is_first_start(self) -> bool:
        """Whether nothing was ever stored here, or a first start ended before it was done."""
        dataset_names = {dataset_info.name for dataset_info in self.corpus.datasets()}
        # The campaigns come last in `prepare`: without them a first start was cut off and is taken up again.
        return not dataset_names or (dataset_names == {SEED_DATASET} and not self.annotation.campaigns())

    def prepare(self) -> None:
        """Fill an empty home: seed corpus, the trivial judges' verdicts, something to annotate."""
        self.corpus.load_seed()
        # Computing the board stores the verdicts of the judges
        # that need no model, which the second campaign shows.
        self.board.board(SEED_DATASET)
        for campaign_spec in _starter_campaigns():
            self.annotation.create_campaign(campaign_spec)

    def close(self) -> None:
        """Stop rounds that are being written, close the connections to model servers, then the database."""
        # Rounds first: as they end they still store what was shown, which needs clients and database.
        self.play.close()
        self.endpoints.close()
        self.database.close()


def build_services(settings: Settings) -> Services:
    """Open and migrate the database and build every service around it.

    Raises UserError where the home folder or the database cannot be used.
    """
    # Before the database: it lies in this folder, which must be its owner's alone from the beginning.
    create_home_folder(settings.home)
    database = Database(settings.url)
    # Before any service reads a table: `remove_left_over` below already does.
    migrate(database)
    endpoint_service = EndpointService(database, settings.home, settings)
    # The programs are handed in from here, so that the queue imports no room above it.
    job_service = JobService(database, settings.home, JobOptions.load(), JOB_PROGRAMS)
    example_service = ExampleService(database, settings.home, endpoint_service)
    scoring_service = ScoringService(database, endpoint_service, job_service, example_service=example_service)
    corpus_service, generator_service = (
        CorpusService(database),
        GeneratorService(endpoint_service, job_service),
    )
    # Rows of an import that was killed are seen by nobody; the next start is where they go.
    corpus_service.remove_left_over()
    annotation_service = AnnotationService(database, settings.lease_seconds)
    board_service = BoardService(database, scoring_service)
    return Services(
        settings=settings,
        database=database,
        corpus=corpus_service,
        annotation=annotation_service,
        endpoints=endpoint_service,
        jobs=job_service,
        examples=example_service,
        scoring=scoring_service,
        board=board_service,
        generators=generator_service,
        pairs=PairService(database, endpoint_service, generator_service, scoring_service, corpus_service, job_service),
        ablation=Ablation(scoring_service, board_service),
        play=PlayService(database, generator_service),
        card_judges=CardJudges(scoring_service),
        flow=FlowBack(database, annotation_service, scoring_service),
        evolution=EvolutionService(database, endpoint_service, scoring_service, job_service, generator_service),
    )


@contextmanager
def open_services() -> Iterator[Services]:
    """Services from the environment for the length of one command."""
    built_services = build_services(Settings.load())
    try:
        yield built_services
    finally:
        built_services.close()


def _starter_campaigns() -> list[CampaignSpec]:
    return [
        CampaignSpec(
            name="哪条更好 · 试标",
            kind=CampaignKind.COMPARE,
            k=3,
            instructions="想象你要把它发给那个人：你更愿意发哪一条？凭感觉选，不必多想。",
            rubric=False,
            datasets=(SEED_DATASET,),
            occasion=None,
            recipient=None,
            style=None,
            limit=100,
            seed=1,
            judge=None,
        ),
        CampaignSpec(
            name="裁判可信吗 · 试标",
            kind=CampaignKind.VALIDATE,
            k=3,
            instructions="先说你自己的看法：这条祝福优秀吗？然后会看到裁判的评判，再说你同不同意。",
            rubric=False,
            datasets=(SEED_DATASET,),
            occasion=None,
            recipient=None,
            style=None,
            limit=60,
            seed=2,
            # A judge that needs no endpoint: this campaign works on a machine that has no model.
            judge="ngram",
        ),
    ]
