"""One run played in this process, alone or as a job, or played once more from the ledger."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from backend.core.enums import RunState
from backend.core.errors import UserError
from backend.db.base import utc_now
from backend.db.engine import Database
from backend.generation.generators import GeneratorService
from backend.judges.context import JudgeContext
from backend.judges.scoring.run import run_blocking
from backend.llm.budget import Budget
from backend.llm.endpoints import EndpointService
from backend.llm.errors import LLMError, LLMErrorKind
from backend.principles import store
from backend.principles.algorithm.adversary import AwaitingConfirmation
from backend.principles.algorithm.game import run_game as play
from backend.principles.algorithm.game_run import GameRun
from backend.principles.algorithm.state import InMemoryGameRecord
from backend.principles.archive import PrincipleArchive
from backend.principles.records import RunInfo
from backend.principles.replay import ReplayContext, ReplayLedger, ReplayResult, compare_steps
from backend.principles.setup import SEARCHERS, build_game_run, wake_policy
from backend.principles.store import DatabaseGameRecord
from backend.runs.hold import HeldElsewhere
from backend.runs.service import RunAttempt

# Makes what one run's judges and agents are made from, within a budget.
ContextBuilder = Callable[[Budget | None], JudgeContext]
# Short enough for a pause to be felt at once; nothing is written in a look that finds nothing new.
POLL_SECONDS = 0.5
# Where a replay numbers its versions, far from those of the archive.
FIRST_REPLAY_NUMBER = 10**9


class RunPlayer:
    """Plays runs; everything lasting goes into their records."""

    def __init__(
        self,
        database: Database,
        endpoints: EndpointService,
        generators: GeneratorService,
        build_context: ContextBuilder,
        archive: PrincipleArchive,
    ) -> None:
        self._database = database
        self._endpoints = endpoints
        self._generators = generators
        self._build_context = build_context
        self._archive = archive

    def play(
        self,
        run_id: int,
        run_attempt: RunAttempt,
        report_progress: Callable[[RunInfo], None],
        is_stopped: Callable[[], bool],
    ) -> RunInfo:
        """Play a run that this process holds; see the service's method of this name."""
        run_blocking(self._play(run_id, run_attempt, report_progress, is_stopped))
        return self._run_info(run_id)

    def replay(self, run_id: int) -> ReplayResult:
        """Play a finished run once more from the ledger, asking nothing; where it differs, if it does."""
        return run_blocking(self._replay(run_id))

    def _run_info(self, run_id: int) -> RunInfo:
        with self._database.read() as session:
            return store.load_run_info(session, run_id)

    async def _play(
        self,
        run_id: int,
        run_attempt: RunAttempt,
        report_progress: Callable[[RunInfo], None],
        is_stopped: Callable[[], bool],
    ) -> None:
        run_info = self._run_info(run_id)
        stop_request = _StopRequest(run_attempt, is_stopped)
        budget = Budget(**run_info.caps)  # type: ignore[arg-type]
        # A resumed run counts on from what it has used: caps hold for the whole run, not for each attempt.
        budget.call_count, budget.token_count, budget.total_cost = (
            run_info.calls,
            run_info.tokens,
            run_info.cost,
        )
        context = self._build_context(budget)
        progress_writer = store.RunProgressWriter(run_attempt, budget)
        game_record = DatabaseGameRecord(self._database, run_id, budget, self._endpoints.ledger.flush)
        try:
            # All rows are read into records here; no transaction spans a call of a model.
            with self._database.read() as session:
                game_run = build_game_run(
                    session,
                    store.require_run(session, run_id),
                    context,
                    partial(wake_policy, self._generators, context),
                    game_record,
                    progress_writer.note_phase,
                )
            await _play_watched(
                game_run,
                context,
                lambda: report_progress(self._run_info(run_id)),
                progress_writer,
                stop_request,
            )
        # Before UserError, which it is as well: waiting for people is no failure.
        except AwaitingConfirmation as waiting:
            progress_writer.write_values(state=RunState.WAITING, phase=None, message=waiting.message.en)
        # Budget and pause come as errors of a call, and are ordinary ends of an attempt.
        except LLMError as error:
            self._note_early_end(progress_writer, error, stop_request.stop)
        # Another process holds the run by now, so this one may write nothing about it.
        except HeldElsewhere:
            raise
        except UserError as error:
            progress_writer.note_failure(error)
            raise
        # Ctrl-C and cancelled tasks as well: the row of a run that nobody plays must not say that it runs.
        except BaseException as error:
            progress_writer.note_failure(_internal_error(error))
            raise
        else:
            progress_writer.write_values(state=RunState.DONE, phase=None, message="", finished_at=utc_now())
            self._mark_best(run_id, game_run)
        finally:
            await context.close()

    def _note_early_end(self, progress_writer: store.RunProgressWriter, error: LLMError, is_stopped: bool) -> None:
        if error.kind is LLMErrorKind.BUDGET:
            progress_writer.write_values(state=RunState.BUDGET, error_en=error.message.en, error_zh=error.message.zh)
        # A cancellation that nobody asked for is a failure like any other.
        elif error.kind is LLMErrorKind.CANCELLED and is_stopped:
            progress_writer.write_values(state=RunState.PAUSED)
        else:
            progress_writer.note_failure(error)
            raise error

    def _mark_best(self, run_id: int, game_run: GameRun) -> None:
        """The best S_D and the last S_G are current now, where the run found any."""
        search_state = game_run.search_state
        for best_version, first_id in (
            (search_state.best, game_run.first_version.id),
            (search_state.generator, self._run_info(run_id).generator),
        ):
            # A run that found nothing marks nothing: its own first version may have been replaced in the
            # meantime.
            if best_version.id != first_id:
                self._archive.mark(best_version.id, f"run {run_id}", "best of the run")

    async def _replay(self, run_id: int) -> ReplayResult:
        with self._database.read() as session:
            run_row = store.require_run(session, run_id)
            replay_ledger = ReplayLedger(self._database, store.load_call_windows(session, run_id))
            context = ReplayContext(self._endpoints, run_row.endpoints, replay_ledger)
            stored_steps = store.load_steps(session, run_id)
            # Run and replay propose in the same order, so the k-th version of one is the k-th of the other.
            version_numbers = dict(enumerate(store.proposed_version_ids(session, run_id), FIRST_REPLAY_NUMBER))
            game_record = InMemoryGameRecord(FIRST_REPLAY_NUMBER)
            # People's answers are in no ledger, so they are handed over.
            game_record.stored_answers = store.load_answers(session, run_id)
            game_run = build_game_run(session, run_row, context, context.open_policy, game_record, replay_ledger.enter)
        try:
            with suppress(LLMError):  # A call the ledger lacks: the steps until there are compared.
                await play(game_run, SEARCHERS)
        finally:
            await context.close()
        replayed_steps = {
            f"{round_number}.{game_phase}": step_data
            for (round_number, game_phase), step_data in game_record.steps.items()
        }
        return compare_steps(stored_steps, replayed_steps, version_numbers)


@dataclass
class _StopRequest:
    """Whether the run is to stop: asked of its job, or by the caller."""

    run_attempt: RunAttempt
    is_stop_requested: Callable[[], bool]
    stop: bool = False

    def check_request(self) -> None:
        """Give a sign of life, and look whether the run shall stop. Raises HoldLost."""
        # The attempt comes first: its look is also the sign of life, which no other answer may skip.
        self.stop = self.run_attempt.should_stop() or self.is_stop_requested() or self.stop


async def _play_watched(
    game_run: GameRun,
    context: JudgeContext,
    report_progress: Callable[[], None],
    progress_writer: store.RunProgressWriter,
    stop_request: _StopRequest,
) -> None:
    """Play, and twice a second note what was used and whether to stop."""
    play_task = asyncio.create_task(play(game_run, SEARCHERS))
    try:
        # Not wait_for, which cancels what it waits for when its time is up.
        while not (await asyncio.wait([play_task], timeout=POLL_SECONDS))[0]:
            stop_request.check_request()
            progress_writer.write_changes()
            report_progress()
            if stop_request.stop:
                # Calls in flight come to their end, so that what is paid for stands in the ledger.
                context.stop()
        await play_task
    finally:
        # Where watching itself failed (the run was taken over), the game must not play on unseen.
        play_task.cancel()
        await asyncio.gather(play_task, return_exceptions=True)
        report_progress()


def _internal_error(error: BaseException) -> UserError:
    error_name = type(error).__name__
    return UserError(
        f"The program broke inside ({error_name}); what was finished is kept, the run can be resumed.",
        f"程序内部出错（{error_name}），已完成的部分都在，可以继续运行。",
    )
