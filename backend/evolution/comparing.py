"""Two S_D on any label set: a job, since each of them reads every label."""

from collections.abc import Callable
from dataclasses import asdict

from backend.db.engine import Database
from backend.db.principle_tables import PrincipleComparison
from backend.errors import NotFound, UserError
from backend.evolution.archive import PrincipleArchive
from backend.evolution.labels import read_labels
from backend.evolution.players import detector
from backend.evolution.records import ComparisonInfo
from backend.jobs.service import JobService
from backend.principles import gate
from backend.principles.labels import Label
from backend.principles.locked import row_of
from backend.principles.lost import refuse_lost
from backend.principles.rules import RuleSet
from backend.principles.table import sample_of
from backend.principles.vocabulary import Agent
from backend.scoring.blocking import blocking
from backend.scoring.house import ScoringHouse
from backend.text import digest

JOB_KIND = "principles"
MOST = 1_000
"""Labels of a larger set that are read, chosen by hash."""


class Comparisons:
    """Makes, plays and shows comparisons."""

    def __init__(
        self,
        database: Database,
        jobs: JobService,
        archive: PrincipleArchive,
        house: Callable[[], ScoringHouse],
    ) -> None:
        self._database = database
        self._jobs = jobs
        self._archive = archive
        self._house = house

    def create(self, first: int, second: int, dataset: str, endpoint: str | None = None) -> ComparisonInfo:
        """A comparison that has not begun. Raises UserError for what cannot be compared."""
        for version_id in (first, second):
            self._archive.spec(version_id, "compared")
        with self._database.read() as session:
            if not read_labels(session, dataset)[0]:
                raise UserError(f"“{dataset}” has no labels.", f"“{dataset}”没有标签。")
        asked = self._house().endpoint(endpoint).name
        with self._database.write() as session:
            row = PrincipleComparison(first_id=first, second_id=second, dataset=dataset, endpoint=asked)
            session.add(row)
            session.flush()
            return _info(row)

    def submit(self, first: int, second: int, dataset: str, endpoint: str | None = None) -> ComparisonInfo:
        """A comparison as a job. Raises UserError."""
        made = self.create(first, second, dataset, endpoint)
        job = self._jobs.submit(JOB_KIND, {"compare": made.id})
        with self._database.write() as session:
            row = session.get_one(PrincipleComparison, made.id)
            row.job_id = job.id
            return _info(row)

    def comparison(self, number: int) -> ComparisonInfo:
        """One comparison. Raises NotFound."""
        with self._database.read() as session:
            row = session.get(PrincipleComparison, number)
            if row is None:
                raise NotFound(f"There is no comparison {number}.", f"没有编号为 {number} 的对比。")
            return _info(row)

    def play(self, number: int, stopped: Callable[[], bool] = lambda: False) -> ComparisonInfo:
        """Let both read the labels in this process. Raises UserError; what was asked is in the ledger."""
        info = self.comparison(number)
        if info.result is not None:
            return info
        with self._database.read() as session:
            found, _ = read_labels(session, info.dataset)
        labels = sorted(found, key=lambda one: digest("compare", one.prompt, one.greeting))[:MOST]
        values = blocking(self._read(info, labels, stopped))
        result = {
            "labels": len(labels),
            "rows": [
                row_of(f"v{info.first}", labels, values[0]),
                row_of(f"v{info.second}", labels, values[1]),
            ],
            "change": asdict(gate.compare(labels, *values)),
        }
        with self._database.write() as session:
            session.get_one(PrincipleComparison, number).result = result
        return self.comparison(number)

    async def _read(
        self, info: ComparisonInfo, labels: list[Label], stopped: Callable[[], bool]
    ) -> list[list[float | None]]:
        house = self._house()
        judge = detector(house, info.endpoint)
        rules: list[RuleSet] = [self._archive.version(id_).rules for id_ in (info.first, info.second)]
        values = []
        try:
            for one in rules:
                if stopped():
                    house.stop()
                drafts = await judge(one).score(list(map(sample_of, labels)))
                refuse_lost(((draft.details or {}).get("failure", "") for draft in drafts), Agent.DETECTOR)
                values.append([draft.value for draft in drafts])
        finally:
            await house.close()
        return values


def _info(row: PrincipleComparison) -> ComparisonInfo:
    return ComparisonInfo(
        row.id, row.first_id, row.second_id, row.dataset, row.endpoint, row.result, row.job_id
    )
