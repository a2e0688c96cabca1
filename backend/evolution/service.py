"""The game as pages, commands and jobs see it: start, go on, watch, confirm, replay, compare."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from sqlalchemy import select

from backend.db.engine import Database
from backend.db.insert import insert_ignore
from backend.db.principle_tables import PrincipleAnswer, PrincipleRun, PrincipleStep
from backend.errors import Conflict, NotFound, UserError
from backend.evolution import labels
from backend.evolution import runs as rows
from backend.evolution.archive import PrincipleArchive, signed
from backend.evolution.comparing import Comparisons
from backend.evolution.estimating import rough
from backend.evolution.house import Houses
from backend.evolution.playing import Player
from backend.evolution.records import OpenCase, Rough, RunInfo, RunRequest, StepInfo
from backend.evolution.replay import Replayed
from backend.evolution.reporting import ReportRow, report
from backend.evolution.uses import Uses, uses_before, uses_of
from backend.jobs.records import JobInfo
from backend.jobs.seat import idle, not_a_job, taken
from backend.jobs.service import JobService
from backend.llm.endpoint import Endpoint
from backend.llm.retry import RetryPolicy
from backend.llm.service import EndpointService
from backend.principles.settings import GameSettings
from backend.principles.vocabulary import Agent, Role, RunState
from backend.scoring.house import ScoringHouse
from backend.scoring.service import ScoringService
from backend.writing.generators import GeneratorService, is_policy

JOB_KIND = "principles"


class EvolutionService:
    """Runs of the game, each resumable at any moment; `archive` holds what they found."""

    def __init__(
        self,
        database: Database,
        endpoints: EndpointService,
        scoring: ScoringService,
        jobs: JobService,
        generators: GeneratorService,
        policy: RetryPolicy | None = None,
    ) -> None:
        self._database = database
        self._jobs = jobs
        self._generators = generators
        self._scoring = scoring
        self._house = Houses(endpoints, generators, policy)
        self.archive = PrincipleArchive(database, scoring)
        self._player = Player(database, endpoints, self._house, self.archive)
        self.comparisons = Comparisons(database, jobs, self.archive, self._house)

    def estimate(self, request: RunRequest) -> Rough:
        """What a run may take at most, and its labels. Raises UserError for what cannot be run."""
        house, settings = self._house(), _settings(request)
        endpoints = self._endpoints(request)
        with self._database.read() as session:
            found = labels.dealt(session, request.dataset, settings.gate, settings.locked)
            uses = uses_of(session, request.dataset, {one.id for one in found.locked})
        prices = {agent: _priced(house, endpoints[agent]["name"]) for agent in Agent}
        return replace(rough(settings, found, prices), uses=uses)

    def create(self, request: RunRequest) -> RunInfo:
        """A run that has not begun. Raises UserError for labels or endpoints that do not suffice."""
        endpoints = self._endpoints(request)
        first = {role: self._first(role, given) for role, given in _given(request).items()}
        settings = _settings(request)
        with self._database.read() as session:
            found = labels.dealt(session, request.dataset, settings.gate, settings.locked)
        with self._database.write() as session:
            row = PrincipleRun(
                dataset=request.dataset,
                settings=settings.plain(),
                endpoints=endpoints,
                caps=dict(request.caps),
                labels=labels.plain_deal(found),
                labels_hash=labels.hash_of(found),
                detector_id=first[Role.DETECTOR],
                generator_id=first[Role.GENERATOR],
            )
            session.add(row)
            session.flush()
            made = row.id
        return self.run(made)

    def submit(self, request: RunRequest) -> RunInfo:
        """A run as a job. Raises UserError."""
        return self.queue(self.create(request).id)

    def fork(
        self, version_id: int, dataset: str, rounds: int | None = None, endpoint: str | None = None
    ) -> RunInfo:
        """A new run, as a job, that begins with a version. Raises UserError."""
        role = self.archive.version(version_id).role
        settings = GameSettings.read({"rounds": rounds})
        first = {"detector" if role is Role.DETECTOR else "generator": version_id}
        return self.submit(RunRequest(dataset, settings, dict.fromkeys(Agent, endpoint), **first))

    def resume(self, run_id: int, **caps: float | None) -> RunInfo:
        """Go on with a run as a job; caps that are given replace the old ones. Raises UserError."""
        self.raise_caps(run_id, **caps)
        return self.queue(run_id)

    def raise_caps(self, run_id: int, **caps: float | None) -> None:
        """Replace the caps that are given. Raises Conflict for a run that is over or in the works."""
        given = {name: value for name, value in caps.items() if value is not None}
        info = self.run(run_id)
        if info.state is RunState.DONE:
            raise Conflict(f"Run {run_id} is over.", f"运行 {run_id} 已经结束。")
        self._refuse_second(info)
        if given:
            with self._database.write() as session:
                rows.row(session, run_id).caps = {**info.caps, **given}

    def queue(self, run_id: int) -> RunInfo:
        """Queue the run as a new job. Raises Conflict where it is in the works already."""
        self._refuse_second(self.run(run_id))
        job = self._jobs.submit(JOB_KIND, {"run": run_id})
        with self._database.write() as session:
            row = rows.row(session, run_id)
            row.job_id, row.state = job.id, RunState.QUEUED
            row.error_en = row.error_zh = None
        return self.run(run_id)

    def pause(self, run_id: int) -> RunInfo:
        """Let the run stop, whoever plays it; what is finished is kept. Raises Conflict where nobody does."""
        info = self.run(run_id)
        job = self._active(info)
        if job is not None:
            self._jobs.pause(job.id)
        elif info.playing is not None:
            with self._database.write() as session:
                rows.row(session, run_id).stop_wished = True
        else:
            raise idle(rows.GAME, run_id)
        return self.run(run_id)

    def cancel(self, run_id: int) -> RunInfo:
        """End the run's job; the run can be resumed later. Raises Conflict where it has none that runs."""
        info = self.run(run_id)
        job = self._active(info)
        if job is None and info.playing is not None:
            raise not_a_job(rows.GAME, run_id, info.playing)
        if job is None:
            raise idle(rows.GAME, run_id)
        self._jobs.cancel(job.id)
        return self.run(run_id)

    def play(
        self,
        run_id: int,
        report: Callable[[RunInfo], None] = lambda _: None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> RunInfo:
        """Play in this process until the run is over, its budget is used up, it is stopped, or it waits.

        Raises UserError for what it cannot go on with; the run then is failed and can be resumed. Raises
        Conflict where another process plays it, which goes on undisturbed.
        """
        return self._player.play(run_id, report, stopped)

    def replay(self, run_id: int) -> Replayed:
        """The run once more from the ledger, asking nothing. Raises UserError for one that is not over."""
        info = self.run(run_id)
        if info.state is not RunState.DONE:
            raise Conflict(
                f"Run {run_id} is not over; only a finished run can be replayed.",
                f"运行 {run_id} 还没有结束，只有完成的运行才能重放。",
            )
        return self._player.replay(run_id)

    def report(self, run_ids: Sequence[int]) -> list[ReportRow]:
        """Runs on the same labels in one table, beside the baselines. Raises UserError."""
        return report(self._database, self._scoring, run_ids)

    def uses(self, run_id: int) -> Uses:
        """Who read the locked labels of a run before it did. Raises NotFound."""
        self.run(run_id)
        with self._database.read() as session:
            return uses_before(session, run_id)

    def runs(self, limit: int = 50) -> list[RunInfo]:
        """The newest runs first."""
        with self._database.read() as session:
            return rows.infos(session, limit=limit)

    def run(self, run_id: int) -> RunInfo:
        """One run. Raises NotFound."""
        with self._database.read() as session:
            return rows.info(session, run_id)

    def job(self, run_id: int) -> JobInfo | None:
        """The newest job of a run."""
        info = self.run(run_id)
        return self._jobs.job(info.job) if info.job else None

    def steps(self, run_id: int, after: int = 0) -> list[StepInfo]:
        """Finished phases with an id above `after`, in order."""
        with self._database.read() as session:
            rows = session.scalars(
                select(PrincipleStep)
                .where(PrincipleStep.run_id == run_id, PrincipleStep.id > after)
                .order_by(PrincipleStep.id)
            )
            return [
                StepInfo(one.id, one.round, one.phase, one.data, one.calls, one.cost, one.created_at)
                for one in rows
            ]

    def open_cases(self, run_id: int) -> list[OpenCase]:
        """Planted flaws of a waiting run that no person has confirmed or refuted."""
        with self._database.read() as session:
            return rows.open_cases(session, run_id)

    def answer(self, run_id: int, number: int, phase: str, case: int, there: bool, person: str) -> RunInfo:
        """What a person says of a planted flaw; with the last one the run goes on by itself.

        Raises UserError for a case that is not open, and without a name.
        """
        who, _ = signed(person, "-")
        known = {(one.round, one.phase, one.number) for one in self.open_cases(run_id)}
        if (number, phase, case) not in known:
            raise NotFound("There is no such open case.", "没有这条待确认的记录。")
        with self._database.write() as session:
            row = {"run_id": run_id, "round": number, "phase": phase, "number": case}
            insert_ignore(session, PrincipleAnswer, [{**row, "there": there, "person": who}])
        info = self.run(run_id)
        free = self._active(info) is None and info.playing is None
        if not self.open_cases(run_id) and info.state is RunState.WAITING and free:
            return self.queue(run_id)
        return info

    def _refuse_second(self, info: RunInfo) -> None:
        if self._active(info) is not None:
            raise Conflict(
                f"Run {info.id} is in the works as job {info.job}.",
                f"运行 {info.id} 正在进行（任务 {info.job}）。",
            )
        if info.playing is not None:
            raise taken(rows.GAME, info.id, info.playing)

    def _endpoints(self, request: RunRequest) -> dict[str, dict[str, str]]:
        house = self._house()
        return {agent.value: self._asked(house, agent, request.endpoints.get(agent)) for agent in Agent}

    def _asked(self, house: ScoringHouse, agent: Agent, name: str | None) -> dict[str, str]:
        if name is not None and is_policy(name):
            if agent is not Agent.GENERATOR:
                raise UserError(
                    f"Only the generator can be a trained model; name an endpoint for the {agent}, "
                    "which has to follow instructions.",
                    f"只有生成者可以用训练好的模型；{agent} 要按说明作答，请给它选一个端点。",
                )
            return {"name": name, "base_url": "", "model": self._generators.usable(name).title}
        found = house.endpoint(name)
        return {"name": found.name, "base_url": found.base_url, "model": found.model}

    def _active(self, info: RunInfo) -> JobInfo | None:
        job = self._jobs.job(info.job) if info.job else None
        return job if job is not None and not job.ended else None

    def _first(self, role: Role, given: int | None) -> int:
        if given is None:
            return self.archive.start(role)
        found = self.archive.version(given)
        if found.role is not role or not found.rules.rules:
            raise UserError(
                f"Version {given} is no {role} to start from.", f"版本 {given} 不是可以作为起点的 {role}。"
            )
        return given


def _given(request: RunRequest) -> dict[Role, int | None]:
    return {Role.DETECTOR: request.detector, Role.GENERATOR: request.generator}


def _settings(request: RunRequest) -> GameSettings:
    """A policy trained here cannot be told S_G, so with one S_G does not evolve."""
    own = is_policy(request.endpoints.get(Agent.GENERATOR))
    return replace(request.settings, evolve_generator=False) if own else request.settings


def _priced(house: ScoringHouse, name: str) -> Endpoint:
    """What a policy of ours costs is time alone; it answers one request after the other."""
    return Endpoint(name, "", name, concurrency=1) if is_policy(name) else house.endpoint(name)
