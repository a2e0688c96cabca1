"""A run's book in the database: each phase is one transaction with all that came of it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from backend.db.engine import Database
from backend.db.llm_tables import LLMCall
from backend.db.principle_tables import PrincipleAnswer, PrincipleOutcome, Principles, PrincipleStep
from backend.jobs.seat import HeldElsewhere
from backend.llm.budget import Budget
from backend.principles.book import NewVersion, StepData, VersionOutcome
from backend.principles.vocabulary import GamePhase


class DatabaseGameRecord:
    """Keeps steps, versions and outcomes of one run. `flush` stores the ledger before a step stands on it."""

    def __init__(self, database: Database, run_id: int, budget: Budget, flush_ledger: Callable[[], None]) -> None:
        self._database = database
        self._run_id = run_id
        self._budget = budget
        self._flush_ledger = flush_ledger
        self._used_before = (budget.call_count, budget.total_cost)
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
        """Keep everything. Raises Elsewhere where another process plays the same run."""
        self._flush_ledger()
        newest_call = self._newest_call_id()
        budget_use = {
            "calls": self._budget.call_count - self._used_before[0],
            "cost": self._budget.total_cost - self._used_before[1],
            "first_call": self._previous_call_id,
            "last_call": newest_call,
        }
        try:
            with self._database.write() as session:
                if new_version is not None:
                    step_data = {
                        **step_data,
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
        except IntegrityError as error:
            raise HeldElsewhere(
                f"Run {self._run_id} is being played elsewhere; this process leaves it alone.",
                f"运行 {self._run_id} 正在别处进行，这里不再继续。",
            ) from error
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
            rules=new_version.rules.plain(),
            rules_hash=new_version.rules.hash,
            parent_id=new_version.parent,
            run_id=self._run_id,
            round=round_number,
            proposer=new_version.proposer,
            note=new_version.note,
        )
        session.add(version_row)
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
