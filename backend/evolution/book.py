"""A run's book in the database: each phase is one transaction with all that came of it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from backend.db.engine import Database
from backend.db.llm_tables import LLMCall
from backend.db.principle_tables import PrincipleAnswer, PrincipleOutcome, Principles, PrincipleStep
from backend.jobs.seat import Elsewhere
from backend.llm.budget import Budget
from backend.principles.book import Data, New, Outcome
from backend.principles.vocabulary import Phase


class DatabaseBook:
    """Keeps steps, versions and outcomes of one run. `flush` stores the ledger before a step stands on it."""

    def __init__(self, database: Database, run_id: int, budget: Budget, flush: Callable[[], None]) -> None:
        self._database = database
        self._run_id = run_id
        self._budget = budget
        self._flush = flush
        self._before = (budget.calls, budget.cost)
        self._call = self._last_call()

    def step(self, number: int, phase: Phase) -> Data | None:
        """The step, where it was kept."""
        with self._database.read() as session:
            return session.scalar(
                select(PrincipleStep.data).filter_by(run_id=self._run_id, round=number, phase=phase.value)
            )

    def keep(
        self, number: int, phase: Phase, data: Data, new: New | None = None, outcomes: Sequence[Outcome] = ()
    ) -> Data:
        """Keep everything. Raises Elsewhere where another process plays the same run."""
        self._flush()
        last = self._last_call()
        used = {
            "calls": self._budget.calls - self._before[0],
            "cost": self._budget.cost - self._before[1],
            "first_call": self._call,
            "last_call": last,
        }
        try:
            with self._database.write() as session:
                if new is not None:
                    data = {**data, "version": self._add(session, number, new)}
                session.add(
                    PrincipleStep(run_id=self._run_id, round=number, phase=phase.value, data=data, **used)
                )
                session.add_all(self._outcome(one) for one in outcomes)
        except IntegrityError as error:
            raise Elsewhere(
                f"Run {self._run_id} is being played elsewhere; this process leaves it alone.",
                f"运行 {self._run_id} 正在别处进行，这里不再继续。",
            ) from error
        self._before, self._call = (self._budget.calls, self._budget.cost), last
        return data

    def answers(self, number: int, phase: Phase) -> Mapping[int, bool]:
        """What people said of planted flaws."""
        with self._database.read() as session:
            rows = session.execute(
                select(PrincipleAnswer.number, PrincipleAnswer.there).filter_by(
                    run_id=self._run_id, round=number, phase=phase.value
                )
            )
            return {row.number: row.there for row in rows}

    def _last_call(self) -> int:
        with self._database.read() as session:
            return session.scalar(select(func.max(LLMCall.id))) or 0

    def _add(self, session: Session, number: int, new: New) -> int:
        row = Principles(
            role=new.rules.role,
            rules=new.rules.plain(),
            rules_hash=new.rules.hash,
            parent_id=new.parent,
            run_id=self._run_id,
            round=number,
            proposer=new.proposer,
            note=new.note,
        )
        session.add(row)
        session.flush()
        return row.id

    def _outcome(self, one: Outcome) -> PrincipleOutcome:
        facts: dict[str, Any] = dict(one.facts)
        return PrincipleOutcome(
            run_id=self._run_id,
            version_id=one.version,
            accepted=one.accepted,
            why=one.why.value,
            facts=facts,
            score=one.score,
            low=one.low,
            high=one.high,
        )
