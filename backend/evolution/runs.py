"""Rows of runs: read as records, and kept up to date while one is played."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from backend.db.engine import Database
from backend.db.principle_tables import (
    PrincipleAnswer,
    PrincipleOutcome,
    PrincipleRun,
    Principles,
    PrincipleStep,
)
from backend.errors import Message, NotFound, UserError
from backend.evolution.labels import counted
from backend.evolution.records import OpenCase, RunInfo
from backend.jobs.seat import RunTable, playing
from backend.llm.budget import Budget
from backend.principles.cases import Planted
from backend.principles.settings import GameSettings
from backend.principles.vocabulary import Phase, Proposer, Role, RunState, Why

GAME = RunTable(PrincipleRun, "运行", "principles pause")
_CASES = {Phase.ADVERSARY: Phase.CONFIRM, Phase.DUEL: Phase.DUEL_CONFIRM}
"""Phases with planted flaws, and the ones in which they are confirmed."""


class Keeper:
    """Notes in the row how the run stands and what it used. `told` costs nothing."""

    def __init__(self, database: Database, run_id: int, budget: Budget) -> None:
        self._database = database
        self._run_id = run_id
        self._budget = budget
        self._told = ""
        self._kept: tuple[Any, ...] = ()

    def told(self, number: int, phase: Phase) -> None:
        """What is being played now."""
        self._told = f"{number}.{phase}"

    def tick(self) -> None:
        """Store what changed since the last tick."""
        used = (self._budget.calls, self._budget.tokens, self._budget.cost, self._told)
        if used != self._kept:
            self._kept = used
            self.note(told=self._told)

    def note(self, **values: Any) -> None:
        """Store these values, and what was used so far."""
        used = {"calls": self._budget.calls, "tokens": self._budget.tokens, "cost": self._budget.cost}
        with self._database.write() as session:
            session.execute(
                update(PrincipleRun).where(PrincipleRun.id == self._run_id).values(**used, **values)
            )

    def failed(self, error: UserError) -> None:
        """The run cannot go on; it can be resumed."""
        told = {"error_en": error.message.en, "error_zh": error.message.zh}
        self.note(state=RunState.FAILED, **told)


def row(session: Session, run_id: int) -> PrincipleRun:
    """The row of a run. Raises NotFound."""
    found = session.get(PrincipleRun, run_id)
    if found is None:
        raise NotFound(f"There is no run {run_id}.", f"没有编号为 {run_id} 的运行。")
    return found


def info(session: Session, run_id: int) -> RunInfo:
    """One run. Raises NotFound."""
    return _info(session, row(session, run_id))


def infos(session: Session, limit: int) -> list[RunInfo]:
    """The newest runs first."""
    rows = session.scalars(select(PrincipleRun).order_by(PrincipleRun.id.desc()).limit(limit)).all()
    return [_info(session, one) for one in rows]


def open_cases(session: Session, run_id: int) -> list[OpenCase]:
    """Planted flaws that fooled the Detector of a run and wait for a person."""
    steps = session.scalars(
        select(PrincipleStep).where(PrincipleStep.run_id == run_id).order_by(PrincipleStep.id)
    ).all()
    known = {(step.round, step.phase) for step in steps}
    said = answers(session, run_id)
    return [
        _open_case(step, number, case)
        for step in steps
        if step.phase in _CASES and (step.round, _CASES[Phase(step.phase)].value) not in known
        for number, case in enumerate(step.data["cases"])
        if case["value"] == 1 and number not in said.get((step.round, Phase(step.phase)), {})
    ]


def answers(session: Session, run_id: int) -> dict[tuple[int, Phase], dict[int, bool]]:
    """What people said of planted flaws, by round and phase."""
    found: dict[tuple[int, Phase], dict[int, bool]] = {}
    for one in session.scalars(select(PrincipleAnswer).where(PrincipleAnswer.run_id == run_id)):
        found.setdefault((one.round, Phase(one.phase)), {})[one.number] = one.there
    return found


def telling(session: Session, run_id: int) -> dict[str, Mapping[str, Any]]:
    """Every kept step by "round.phase", in order."""
    rows = session.execute(
        select(PrincipleStep.round, PrincipleStep.phase, PrincipleStep.data)
        .where(PrincipleStep.run_id == run_id)
        .order_by(PrincipleStep.id)
    )
    return {f"{number}.{phase}": data for number, phase, data in rows}


def windows(session: Session, run_id: int) -> dict[tuple[int, Phase], tuple[int, int]]:
    """Between which calls of the ledger each step lies."""
    rows = session.execute(
        select(
            PrincipleStep.round, PrincipleStep.phase, PrincipleStep.first_call, PrincipleStep.last_call
        ).where(PrincipleStep.run_id == run_id)
    )
    return {(number, Phase(phase)): (first, last) for number, phase, first, last in rows}


def proposals(session: Session, run_id: int) -> list[int]:
    """Numbers of the versions that the run brought, in order."""
    query = select(Principles.id).where(Principles.run_id == run_id).order_by(Principles.id)
    return list(session.scalars(query))


def _open_case(step: PrincipleStep, number: int, case: Mapping[str, Any]) -> OpenCase:
    planted = Planted.read(case)
    return OpenCase(
        run=step.run_id,
        round=step.round,
        phase=step.phase,
        number=number,
        prompt=planted.prompt,
        greeting=planted.greeting,
        flaw=planted.flaw.value,
        place=planted.place,
        explanation=planted.explanation,
    )


def _info(session: Session, one: PrincipleRun) -> RunInfo:
    outcomes = session.execute(
        select(
            PrincipleOutcome.accepted, PrincipleOutcome.score, PrincipleOutcome.version_id, Principles.role
        )
        .join(Principles, Principles.id == PrincipleOutcome.version_id)
        .where(PrincipleOutcome.run_id == one.id, PrincipleOutcome.why != Why.START.value)
        .where(Principles.proposer != Proposer.REWRITE)
        .order_by(PrincipleOutcome.id)
    ).all()
    started = session.scalar(
        select(PrincipleOutcome.score).filter_by(run_id=one.id, version_id=one.detector_id)
    )
    scores = [(one.detector_id, started)] if started is not None else []
    scores += [
        (id_, score)
        for accepted, score, id_, role in outcomes
        if accepted and role is Role.DETECTOR and score is not None
    ]
    rounds = session.scalar(select(func.max(PrincipleStep.round)).where(PrincipleStep.run_id == one.id))
    locked = session.scalar(select(PrincipleStep.data).filter_by(run_id=one.id, phase=Phase.LOCKED.value))
    accepted = sum(row.accepted for row in outcomes)
    return RunInfo(
        id=one.id,
        dataset=one.dataset,
        settings=GameSettings.read(one.settings),
        endpoints=one.endpoints,
        caps=one.caps,
        labels=counted(one.labels),
        labels_hash=one.labels_hash,
        state=one.state,
        told=one.told,
        error=Message(one.error_en, one.error_zh or one.error_en) if one.error_en else None,
        job=one.job_id,
        detector=one.detector_id,
        generator=one.generator_id,
        rounds=rounds or 0,
        accepted=accepted,
        rejected=len(outcomes) - accepted,
        calls=one.calls,
        tokens=one.tokens,
        cost=one.cost,
        best=max(scores, key=lambda pair: pair[1])[0] if scores else None,
        locked=locked,
        created_at=one.created_at,
        finished_at=one.finished_at,
        playing=playing(one),
    )
