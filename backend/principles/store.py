"""Runs in the database: each phase one transaction with all that came of it, read back as records."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from backend.core.enums import DecisionReason, GamePhase, Proposer, Role, RunState
from backend.core.errors import Message, UserError
from backend.core.stored_records import read_record
from backend.db.engine import Database
from backend.db.llm_tables import LLMCall
from backend.db.principle_tables import (
    PrincipleAnswer,
    PrincipleOutcome,
    PrincipleRun,
    Principles,
    PrincipleStep,
)
from backend.db.queries import get_or_not_found
from backend.llm.budget import Budget
from backend.principles.algorithm.settings import GameSettings
from backend.principles.algorithm.state import NewVersion, StepData, VersionOutcome
from backend.principles.algorithm.steps import AttackStep, DuelStep, JudgedFlaw
from backend.principles.dealing import count_labels
from backend.principles.records import OpenCase, RunInfo
from backend.runs.hold import HeldElsewhere, find_run_holders
from backend.runs.service import RunAttempt


class DatabaseGameRecord:
    """Keeps steps, versions and outcomes of one run. `flush` stores the ledger before a step stands on it."""

    def __init__(self, database: Database, run_id: int, budget: Budget, flush_ledger: Callable[[], None]) -> None:
        self._database = database
        self._run_id = run_id
        self._budget = budget
        self._flush_ledger = flush_ledger
        self._used_before = (budget.call_count, budget.total_cost)
        # What stands in the ledger before this attempt was answered earlier; the window of its first step
        # begins here.
        self._previous_call_id = self._newest_call_id()

    def stored_step(self, round_number: int, game_phase: GamePhase) -> StepData | None:
        """The step, where it was kept."""
        with self._database.read() as session:
            return session.scalar(
                select(PrincipleStep.data).filter_by(run_id=self._run_id, round=round_number, phase=game_phase.value)
            )

    def store_step(
        self,
        round_number: int,
        game_phase: GamePhase,
        step_data: StepData,
        new_version: NewVersion | None = None,
        outcomes: Sequence[VersionOutcome] = (),
    ) -> StepData:
        """Keep everything. Raises HeldElsewhere where another process plays the same run."""
        # The ledger first: a step whose calls a crash has lost could never be replayed.
        self._flush_ledger()
        newest_call = self._newest_call_id()
        budget_use = {
            "calls": self._budget.call_count - self._used_before[0],
            "cost": self._budget.total_cost - self._used_before[1],
            # The window tells a replay which answers lay there when the step asked, and which it got itself.
            "first_call": self._previous_call_id,
            "last_call": newest_call,
        }
        try:
            with self._database.write() as session:
                if new_version is not None:
                    step_data = {
                        **step_data,
                        # In the same transaction: a version without its step would be proposed a second time
                        # by the resumed run.
                        "version": self._add_version(session, round_number, new_version),
                    }
                session.add(
                    PrincipleStep(
                        run_id=self._run_id,
                        round=round_number,
                        phase=game_phase.value,
                        data=step_data,
                        **budget_use,
                    )
                )
                session.add_all(self._outcome_row(outcome) for outcome in outcomes)
        # Round and phase are unique in a run, which catches a second player whatever else has failed to stop
        # it.
        except IntegrityError as error:
            raise HeldElsewhere(
                f"Run {self._run_id} is being played elsewhere; this process leaves it alone.",
                f"运行 {self._run_id} 正在别处进行，这里不再继续。",
            ) from error
        # Only once the step is stored, so that a failed write is counted with the next one.
        self._used_before, self._previous_call_id = (
            (self._budget.call_count, self._budget.total_cost),
            newest_call,
        )
        return step_data

    def person_answers(self, round_number: int, game_phase: GamePhase) -> Mapping[int, bool]:
        """What people said of planted flaws."""
        with self._database.read() as session:
            answer_rows = session.execute(
                select(PrincipleAnswer.number, PrincipleAnswer.there).filter_by(
                    run_id=self._run_id, round=round_number, phase=game_phase.value
                )
            )
            return {answer_row.number: answer_row.there for answer_row in answer_rows}

    def _newest_call_id(self) -> int:
        with self._database.read() as session:
            return session.scalar(select(func.max(LLMCall.id))) or 0

    def _add_version(self, session: Session, round_number: int, new_version: NewVersion) -> int:
        version_row = Principles(
            role=new_version.rules.role,
            rules=new_version.rules.stored_rules,
            rules_hash=new_version.rules.hash,
            parent_id=new_version.parent,
            run_id=self._run_id,
            round=round_number,
            proposer=new_version.proposer,
            note=new_version.note,
        )
        session.add(version_row)
        # The step of the same transaction names the version by its number.
        session.flush()
        return version_row.id

    def _outcome_row(self, outcome: VersionOutcome) -> PrincipleOutcome:
        plain_facts: dict[str, Any] = dict(outcome.facts)
        return PrincipleOutcome(
            run_id=self._run_id,
            version_id=outcome.version,
            accepted=outcome.accepted,
            why=outcome.why.value,
            facts=plain_facts,
            score=outcome.score,
            low=outcome.low,
            high=outcome.high,
        )


# Phases with planted flaws, and the ones in which they are confirmed.
_CONFIRM_PHASES = {GamePhase.ADVERSARY: GamePhase.CONFIRM, GamePhase.DUEL: GamePhase.DUEL_CONFIRM}


class RunProgressWriter:
    """Notes in the row how the run stands and what it used, as long as this process holds the run."""

    def __init__(self, run_attempt: RunAttempt, budget: Budget) -> None:
        self._run_attempt = run_attempt
        self._budget = budget
        self._position: str | None = None
        self._last_written: tuple[Any, ...] = ()

    def note_phase(self, round_number: int, game_phase: GamePhase) -> None:
        """What is being played now."""
        self._position = f"{round_number}.{game_phase}"

    def write_changes(self) -> None:
        """Store what changed since the last tick."""
        current_use = (
            self._budget.call_count,
            self._budget.token_count,
            self._budget.total_cost,
            self._position,
        )
        # Looked at twice a second; each write takes SQLite's only write lock.
        if current_use != self._last_written:
            self._last_written = current_use
            self.write_values(phase=self._position, message="")

    def write_values(self, **values: Any) -> None:
        """Store these values, and what was used so far."""
        budget_use = {
            "calls": self._budget.call_count,
            "tokens": self._budget.token_count,
            "cost": self._budget.total_cost,
        }
        self._run_attempt.store_values(**budget_use, **values)

    def note_failure(self, error: UserError) -> None:
        """The run cannot go on; it can be resumed."""
        error_fields = {"error_en": error.message.en, "error_zh": error.message.zh}
        self.write_values(state=RunState.FAILED, **error_fields)


def require_run(session: Session, run_id: int) -> PrincipleRun:
    """The row of a run. Raises NotFound."""
    sentences = f"There is no run {run_id}.", f"没有编号为 {run_id} 的运行。"
    return get_or_not_found(session, PrincipleRun, run_id, *sentences)


def load_run_info(session: Session, run_id: int) -> RunInfo:
    """One run. Raises NotFound."""
    return _build_run_info(session, require_run(session, run_id))


def load_run_infos(session: Session, limit: int) -> list[RunInfo]:
    """The newest runs first."""
    run_rows = session.scalars(select(PrincipleRun).order_by(PrincipleRun.id.desc()).limit(limit)).all()
    return [_build_run_info(session, run_row) for run_row in run_rows]


def open_cases(session: Session, run_id: int) -> list[OpenCase]:
    """Planted flaws that fooled the Detector of a run and wait for a person."""
    step_rows = session.scalars(
        select(PrincipleStep).where(PrincipleStep.run_id == run_id).order_by(PrincipleStep.id)
    ).all()
    finished_phases = {(step_row.round, step_row.phase) for step_row in step_rows}
    answers_by_phase = load_answers(session, run_id)
    return [
        _build_open_case(step_row, case_number, flaw_case)
        for step_row in step_rows
        if step_row.phase in _CONFIRM_PHASES
        # Once the confirmation is stored an answer would change nothing any more.
        and (step_row.round, _CONFIRM_PHASES[GamePhase(step_row.phase)].value) not in finished_phases
        for case_number, flaw_case in enumerate(_stored_cases(step_row))
        # A flaw that the Detector has seen needs nobody's confirmation.
        if flaw_case.value == 1
        and case_number not in answers_by_phase.get((step_row.round, GamePhase(step_row.phase)), {})
    ]


def load_answers(session: Session, run_id: int) -> dict[tuple[int, GamePhase], dict[int, bool]]:
    """What people said of planted flaws, by round and phase."""
    answers_by_phase: dict[tuple[int, GamePhase], dict[int, bool]] = {}
    for answer_row in session.scalars(select(PrincipleAnswer).where(PrincipleAnswer.run_id == run_id)):
        answers_by_phase.setdefault((answer_row.round, GamePhase(answer_row.phase)), {})[answer_row.number] = (
            answer_row.there
        )
    return answers_by_phase


def load_steps(session: Session, run_id: int) -> dict[str, Mapping[str, Any]]:
    """Every kept step by "round.phase", in order."""
    step_rows = session.execute(
        select(PrincipleStep.round, PrincipleStep.phase, PrincipleStep.data)
        .where(PrincipleStep.run_id == run_id)
        .order_by(PrincipleStep.id)
    )
    return {f"{round_number}.{game_phase}": step_data for round_number, game_phase, step_data in step_rows}


def load_call_windows(session: Session, run_id: int) -> dict[tuple[int, GamePhase], tuple[int, int]]:
    """Between which calls of the ledger each step lies."""
    step_rows = session.execute(
        select(PrincipleStep.round, PrincipleStep.phase, PrincipleStep.first_call, PrincipleStep.last_call).where(
            PrincipleStep.run_id == run_id
        )
    )
    return {
        (round_number, GamePhase(game_phase)): (first_call, last_call)
        for round_number, game_phase, first_call, last_call in step_rows
    }


def proposed_version_ids(session: Session, run_id: int) -> list[int]:
    """Numbers of the versions that the run brought, in order."""
    version_query = select(Principles.id).where(Principles.run_id == run_id).order_by(Principles.id)
    return list(session.scalars(version_query))


def _stored_cases(step_row: PrincipleStep) -> list[JudgedFlaw]:
    step_type = AttackStep if step_row.phase == GamePhase.ADVERSARY else DuelStep
    return step_type.model_validate(step_row.data).cases


def _build_open_case(step_row: PrincipleStep, case_number: int, planted_flaw: JudgedFlaw) -> OpenCase:
    return OpenCase(
        run=step_row.run_id,
        round=step_row.round,
        phase=step_row.phase,
        number=case_number,
        prompt=planted_flaw.prompt,
        greeting=planted_flaw.greeting,
        flaw=planted_flaw.flaw.value,
        place=planted_flaw.place,
        explanation=planted_flaw.explanation,
    )


def _build_run_info(session: Session, run_row: PrincipleRun) -> RunInfo:
    outcome_rows = session.execute(
        select(PrincipleOutcome.accepted, PrincipleOutcome.score, PrincipleOutcome.version_id, Principles.role)
        .join(Principles, Principles.id == PrincipleOutcome.version_id)
        # Neither the first versions nor the rewriting stood before the gate, so they are neither in nor
        # refused.
        .where(PrincipleOutcome.run_id == run_row.id, PrincipleOutcome.why != DecisionReason.START.value)
        .where(Principles.proposer != Proposer.REWRITE)
        .order_by(PrincipleOutcome.id)
    ).all()
    starting_score = session.scalar(
        select(PrincipleOutcome.score).filter_by(run_id=run_row.id, version_id=run_row.detector_id)
    )
    detector_scores = [(run_row.detector_id, starting_score)] if starting_score is not None else []
    detector_scores += [
        (version_id, gate_score)
        for accepted, gate_score, version_id, agent_role in outcome_rows
        if accepted and agent_role is Role.DETECTOR and gate_score is not None
    ]
    last_round = session.scalar(select(func.max(PrincipleStep.round)).where(PrincipleStep.run_id == run_row.id))
    locked_report = session.scalar(
        select(PrincipleStep.data).filter_by(run_id=run_row.id, phase=GamePhase.LOCKED.value)
    )
    accepted = sum(outcome_row.accepted for outcome_row in outcome_rows)
    return RunInfo(
        id=run_row.id,
        dataset=run_row.dataset,
        settings=read_record(GameSettings, run_row.settings),
        endpoints=run_row.endpoints,
        caps=run_row.caps,
        labels=count_labels(run_row.labels),
        labels_hash=run_row.labels_hash,
        state=run_row.state,
        phase=run_row.phase,
        message=run_row.message,
        error=Message(run_row.error_en, run_row.error_zh or run_row.error_en) if run_row.error_en else None,
        job=run_row.job_id,
        detector=run_row.detector_id,
        generator=run_row.generator_id,
        rounds=last_round or 0,
        accepted=accepted,
        rejected=len(outcome_rows) - accepted,
        calls=run_row.calls,
        tokens=run_row.tokens,
        cost=run_row.cost,
        # Of equal scores the earlier version, as the search has it, which asks for a strictly better one.
        best=max(detector_scores, key=lambda pair: pair[1])[0] if detector_scores else None,
        locked=locked_report,
        created_at=run_row.created_at,
        finished_at=run_row.finished_at,
        playing=find_run_holders(session, [run_row.job_id]).get(run_row.job_id),
    )
