"""A run from its first line to its last pair: filter, write and judge in turns, pair; alone or as a job."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import case, func, select

from backend.core.enums import PairStage
from backend.core.errors import UserError
from backend.core.stored_records import read_record, stored_json
from backend.db.base import utc_now
from backend.db.engine import Database
from backend.db.pair_tables import Candidate, PairRun, RunPrompt
from backend.generation.generators import WriterPool
from backend.judges.base import JudgeSpec
from backend.judges.panel import Retriever
from backend.judges.scoring.records import ScoreProgress, ScoreRequest, ScoringRunState
from backend.judges.scoring.run import WorkStream, run_blocking
from backend.judges.scoring.service import ScoringService
from backend.judges.scoring.targets import ScoringTarget, TargetKind
from backend.llm.budget import Budget
from backend.llm.errors import LLMError, LLMErrorKind
from backend.preferences.candidates import (
    CandidateProducer,
    PendingPrompt,
    WrittenCandidate,
    load_unwritten,
    store_candidates,
)
from backend.preferences.emit import emit_pairs, mark
from backend.preferences.intake import filter_prompts
from backend.preferences.records import PairProgress, PairRequest, done_share
from backend.preferences.review import hand_out
from backend.runs.service import RunAttempt

# Prompts that are written before their candidates are judged.
CHUNK = 250
NOTE_INTERVAL_S = 0.5
ProgressCallback = Callable[[PairProgress], None]
StopCheck = Callable[[], bool]


@dataclass(frozen=True)
class PairRunTools:
    """What a run works with."""

    database: Database
    scoring: ScoringService
    open_writers: Callable[[], WriterPool]
    make_retriever: Callable[[PairRequest, Budget], Retriever]


class RunHalted(Exception):
    """The run ends here for now: asked to stop, or its budget is used up."""

    def __init__(self, run_state: ScoringRunState, halt_error: UserError | None = None) -> None:
        super().__init__(run_state.value)
        self.state = run_state
        self.error = halt_error


class PairRunner:
    """One attempt at a run, by whoever holds its job."""

    def __init__(
        self,
        run_tools: PairRunTools,
        run_id: int,
        run_attempt: RunAttempt,
        on_progress: ProgressCallback,
        stop_requested: StopCheck,
    ) -> None:
        self._tools, self._run_id, self._run_attempt, self._on_progress, self._stop_requested = (
            run_tools,
            run_id,
            run_attempt,
            on_progress,
            stop_requested,
        )
        self._started_at = self._saved_at = time.monotonic()
        with run_tools.database.read() as session:
            pair_run = session.get_one(PairRun, run_id)
            self._request = read_record(PairRequest, pair_run.config)
            self._run_name, self._stage, earlier_spending = pair_run.name, pair_run.stage, pair_run.spent
        request = self._request
        self._budget = Budget(request.max_calls, request.max_tokens, request.max_cost)
        self._budget.call_count, self._budget.token_count = (
            earlier_spending.get("calls", 0),
            earlier_spending.get("tokens", 0),
        )
        self._budget.total_cost, self._seconds = (
            earlier_spending.get("cost", 0.0),
            earlier_spending.get("seconds", 0.0),
        )
        self._judged_count = self._judged_again_count = 0

    def run_stages(self) -> PairProgress:
        """Work until the pairs stand, the run is stopped, or its budget is used up. Raises UserError, and
        HoldLost where another process took the run over."""
        run_state, run_error = ScoringRunState.DONE, None
        try:
            self._enter_stage(PairStage.FILTERING)
            filter_prompts(self._tools.database, self._run_id, self._check_stop)
            self._check_stop()
            self._write_and_judge()
            self._ask_second_judge()
            self._make_pairs()
        except RunHalted as halt:
            run_state, run_error = halt.state, halt.error
        finally:
            self._save_spending(save_now=True)
        final_progress = self._current_progress(run_state)
        final_progress = replace(final_progress, error=run_error.message if run_error else None)
        self._on_progress(final_progress)
        return final_progress

    def _write_and_judge(self) -> None:
        while True:
            self._enter_stage(PairStage.WRITING)
            written_count = run_blocking(self._write_chunk())
            self._check_stop()
            self._enter_stage(PairStage.JUDGING)
            self._judge_candidates()
            self._check_stop()
            if not written_count:
                return

    async def _write_chunk(self) -> int:
        """Write the next chunk; how many prompts it had."""
        prompts_left, written_count = CHUNK, 0
        candidate_writers = self._tools.open_writers()

        def fetch_prompts() -> Sequence[PendingPrompt]:
            nonlocal prompts_left
            with self._tools.database.read() as session:
                prompt_page = load_unwritten(session, self._run_id, prompts_left)
            prompts_left = 0
            return prompt_page

        def store_written(written_batch: Sequence[tuple[PendingPrompt, list[WrittenCandidate]]]) -> None:
            nonlocal written_count
            store_candidates(self._tools.database, self._run_id, written_batch)
            written_count += len(written_batch)

        def check_and_report() -> None:
            if self._should_stop():
                candidate_writers.stop()
                work_stream.stop()
            self._report_progress()

        try:
            opened_writers = await candidate_writers.open(
                self._request.plan.generators, f"pairs:{self._run_id}", self._budget
            )
            example_retriever = self._tools.make_retriever(self._request, self._budget)
            candidate_producer = CandidateProducer(
                self._request.plan, opened_writers, example_retriever, self._request.seed
            )

            async def write_batch(prompt_batch: Sequence[PendingPrompt]) -> list[list[WrittenCandidate]]:
                return [await candidate_producer.write(pending_prompt) for pending_prompt in prompt_batch]

            parallel_lanes = max(
                2,
                2
                * sum(opened_writer.concurrency for opened_writer in opened_writers.values())
                // self._request.plan.candidates,
            )
            work_stream: WorkStream[PendingPrompt, list[WrittenCandidate]] = WorkStream(
                fetch_prompts, write_batch, store_written, batch_size=1, lane_count=min(parallel_lanes, 128)
            )
            await work_stream.run(check_and_report)
        finally:
            await candidate_writers.close()
        _raise_failure(work_stream.failure)
        return written_count

    def _judge_candidates(self) -> None:
        """Let the judge see every candidate that has no verdict of it yet."""
        score_target = ScoringTarget(TargetKind.DATASET, self._run_name)
        self._score_missing(self._request.judge, score_target, self._note_scored, "judge_id")

    def _ask_second_judge(self) -> None:
        """Let a second judge see the candidates of pairs that balance would keep against the odds."""
        request = self._request
        if request.second is None or not request.balance_length:
            return
        self._save_spending(save_now=True)
        if not mark(self._tools.database, self._run_id, request):
            return
        score_target = ScoringTarget(TargetKind.REJUDGED, str(self._run_id))
        self._score_missing(request.second, score_target, self._note_scored_again, "second_judge_id")
        self._check_stop()

    def _score_missing(
        self,
        judge_spec: JudgeSpec,
        score_target: ScoringTarget,
        on_progress: Callable[[ScoreProgress], None],
        rater_column: str,
    ) -> None:
        """Score what is missing, within what is left of the budget; `column` notes the rater, from its first
        verdicts on, so that they count in the funnel."""
        request = self._request
        score_request = ScoreRequest(
            judge_spec,
            score_target,
            max_calls=request.max_calls,
            max_tokens=request.max_tokens,
            max_cost=request.max_cost,
        )
        rater_id: int | None = None

        def handle_progress(progress: ScoreProgress) -> None:
            nonlocal rater_id
            if rater_id is None:
                with self._tools.database.read() as session:
                    rater_id = self._tools.scoring.catalog.find_rater_id(session, progress.judge, progress.version)
                self._run_attempt.store_values(**{rater_column: rater_id})
            on_progress(progress)

        final_progress = self._tools.scoring.run(score_request, handle_progress, self._should_stop, self._budget)
        handle_progress(final_progress)
        if final_progress.state is ScoringRunState.BUDGET:
            raise RunHalted(
                ScoringRunState.BUDGET,
                UserError(final_progress.error.en, final_progress.error.zh) if final_progress.error else None,
            )
        if final_progress.state is ScoringRunState.FAILED and final_progress.error is not None:
            raise UserError(final_progress.error.en, final_progress.error.zh)

    def _note_scored(self, progress: ScoreProgress) -> None:
        self._judged_count = progress.scored + progress.unscored
        self._note_spending(progress)

    def _note_scored_again(self, progress: ScoreProgress) -> None:
        self._judged_again_count = progress.scored + progress.unscored
        self._note_spending(progress)

    def _note_spending(self, progress: ScoreProgress) -> None:
        self._budget.call_count, self._budget.token_count = progress.calls, progress.tokens
        self._budget.total_cost = progress.cost
        self._report_progress()

    def _make_pairs(self) -> None:
        self._enter_stage(PairStage.PAIRING)
        pairing_report = emit_pairs(self._tools.database, self._run_id, self._request)
        self._run_attempt.should_stop()
        hand_out(self._tools.database, self._run_id, self._request)
        self._run_attempt.store_values(report=stored_json(pairing_report), stage=PairStage.DONE, finished_at=utc_now())
        self._stage = PairStage.DONE

    def _enter_stage(self, next_stage: PairStage) -> None:
        self._stage = next_stage
        self._run_attempt.should_stop()
        self._run_attempt.store_values(stage=next_stage)
        self._save_spending(save_now=True)
        self._report_progress()

    def _should_stop(self) -> bool:
        """Be heard of; whether to stop: asked of the job, or by the caller."""
        return self._run_attempt.should_stop() or self._stop_requested()

    def _check_stop(self) -> None:
        if self._should_stop():
            raise RunHalted(ScoringRunState.STOPPED)

    def _report_progress(self) -> None:
        self._save_spending()
        self._on_progress(self._current_progress(ScoringRunState.RUNNING))

    def _save_spending(self, *, save_now: bool = False) -> None:
        """Write down what was spent, twice a second and at every stage: a resumed run counts it in.

        So of a killed run at most half a second of calls is not counted into its caps.
        """
        if not save_now and time.monotonic() - self._saved_at < NOTE_INTERVAL_S:
            return
        self._saved_at = time.monotonic()
        total_spending = {
            "calls": self._budget.call_count,
            "tokens": self._budget.token_count,
            "cost": self._budget.total_cost,
            "seconds": self._seconds + time.monotonic() - self._started_at,
        }
        self._run_attempt.store_values(spent=total_spending)

    def _current_progress(self, run_state: ScoringRunState) -> PairProgress:
        with self._tools.database.read() as session:
            stage_counts = _count_stages(session, self._run_id)
        expected_count = stage_counts["kept"] * self._request.plan.candidates
        debated_count = (
            stage_counts["debated"] if stage_counts["written_prompts"] == stage_counts["kept"] else expected_count
        )
        return PairProgress(
            run=self._run_id,
            stage=self._stage,
            state=run_state,
            prompts=stage_counts["prompts"],
            passed_prompts=stage_counts["kept"],
            written=stage_counts["written"],
            expected=expected_count,
            judged=self._judged_count,
            calls=self._budget.call_count,
            tokens=self._budget.token_count,
            cost=self._budget.total_cost,
            seconds=self._seconds + time.monotonic() - self._started_at,
            done_share=done_share(stage_counts["written"], expected_count, self._judged_count, debated_count),
            again=self._judged_again_count,
        )


def _count_stages(session: Any, run_id: int) -> dict[str, int]:
    prompt_counts = session.execute(
        select(func.count(), func.count(RunPrompt.prompt_id), func.sum(case((RunPrompt.written, 1), else_=0))).where(
            RunPrompt.run_id == run_id
        )
    ).one()
    candidate_counts = session.execute(
        select(func.count(), func.count(Candidate.greeting_id)).where(Candidate.run_id == run_id)
    ).one()
    return {
        "prompts": prompt_counts[0],
        "kept": prompt_counts[1],
        "written_prompts": int(prompt_counts[2] or 0),
        "written": candidate_counts[0],
        "debated": candidate_counts[1],
    }


def _raise_failure(work_failure: UserError | None) -> None:
    if isinstance(work_failure, LLMError) and work_failure.kind in (
        LLMErrorKind.BUDGET,
        LLMErrorKind.CANCELLED,
    ):
        halt_state = ScoringRunState.BUDGET if work_failure.kind is LLMErrorKind.BUDGET else ScoringRunState.STOPPED
        raise RunHalted(halt_state, work_failure if halt_state is ScoringRunState.BUDGET else None)
    if work_failure is not None:
        raise work_failure
