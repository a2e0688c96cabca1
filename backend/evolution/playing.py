"""One run played in this process, or played once more from the ledger."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from backend.db.base import now
from backend.db.engine import Database
from backend.errors import UserError
from backend.evolution import runs
from backend.evolution.archive import PrincipleArchive
from backend.evolution.book import DatabaseBook
from backend.evolution.house import GameHouse, Houses
from backend.evolution.players import laid_out
from backend.evolution.records import RunInfo
from backend.evolution.replay import Replayed, ReplayHall, ReplayLedger, compare
from backend.evolution.searching import SEARCHERS
from backend.jobs.seat import Elsewhere, Seat
from backend.llm.budget import Budget
from backend.llm.errors import Kind, LLMError
from backend.llm.service import EndpointService
from backend.principles.adversary import Waiting
from backend.principles.book import MemoryBook
from backend.principles.game import run as play
from backend.principles.table import Table
from backend.principles.vocabulary import RunState
from backend.scoring.blocking import blocking

TICK_S = 0.5
BEYOND = 10**9
"""Where a replay numbers its versions, far from those of the archive."""


class Player:
    """Plays runs; everything lasting goes into their books."""

    def __init__(
        self, database: Database, endpoints: EndpointService, house: Houses, archive: PrincipleArchive
    ) -> None:
        self._database = database
        self._endpoints = endpoints
        self._house = house
        self._archive = archive

    def play(self, run_id: int, report: Callable[[RunInfo], None], stopped: Callable[[], bool]) -> RunInfo:
        """See EvolutionService.play."""
        return blocking(self._play(run_id, report, stopped))

    def replay(self, run_id: int) -> Replayed:
        """See EvolutionService.replay."""
        return blocking(self._replay(run_id))

    def _info(self, run_id: int) -> RunInfo:
        with self._database.read() as session:
            return runs.info(session, run_id)

    async def _play(
        self, run_id: int, report: Callable[[RunInfo], None], stopped: Callable[[], bool]
    ) -> RunInfo:
        if self._info(run_id).state is RunState.DONE:
            return self._info(run_id)
        seat = Seat(self._database, runs.GAME, run_id)
        seat.take(state=RunState.RUNNING, error_en=None, error_zh=None)
        try:
            await self._seated(run_id, report, stopped, seat)
        finally:
            seat.leave()
        return self._info(run_id)

    async def _seated(
        self, run_id: int, report: Callable[[RunInfo], None], stopped: Callable[[], bool], seat: Seat
    ) -> None:
        info = self._info(run_id)
        wish = _Wish(seat, stopped)
        budget = Budget(**info.caps)  # type: ignore[arg-type]
        budget.calls, budget.tokens, budget.cost = info.calls, info.tokens, info.cost
        house = self._house(budget)
        keeper = runs.Keeper(self._database, run_id, budget)
        book = DatabaseBook(self._database, run_id, budget, self._endpoints.ledger.flush)
        try:
            with self._database.read() as session:
                table = laid_out(session, runs.row(session, run_id), house, book, keeper.told)
            await _watched(table, house, lambda: report(self._info(run_id)), keeper, wish)
        except Waiting as waiting:
            keeper.note(state=RunState.WAITING, told=waiting.message.en)
        except LLMError as error:
            self._ended_early(keeper, error, wish.stop)
        except Elsewhere:
            raise
        except UserError as error:
            keeper.failed(error)
            raise
        except BaseException as error:
            keeper.failed(_broken(error))
            raise
        else:
            keeper.note(state=RunState.DONE, told="", finished_at=now())
            self._mark_best(run_id, table)
        finally:
            await house.close()

    def _ended_early(self, keeper: runs.Keeper, error: LLMError, stopped: bool) -> None:
        if error.kind is Kind.BUDGET:
            keeper.note(state=RunState.BUDGET, error_en=error.message.en, error_zh=error.message.zh)
        elif error.kind is Kind.CANCELLED and stopped:
            keeper.note(state=RunState.PAUSED)
        else:
            keeper.failed(error)
            raise error

    def _mark_best(self, run_id: int, table: Table) -> None:
        """The best S_D and the last S_G are current now, where the run found any."""
        standing = table.standing
        for found, first in (
            (standing.best, table.first.id),
            (standing.generator, self._info(run_id).generator),
        ):
            if found.id != first:
                self._archive.mark(found.id, f"run {run_id}", "best of the run")

    async def _replay(self, run_id: int) -> Replayed:
        with self._database.read() as session:
            row = runs.row(session, run_id)
            ledger = ReplayLedger(self._database, runs.windows(session, run_id))
            hall = ReplayHall(row.endpoints, self._endpoints.fence_key(), ledger)
            kept = runs.telling(session, run_id)
            numbers = dict(enumerate(runs.proposals(session, run_id), BEYOND))
            book = MemoryBook(BEYOND)
            book.said = runs.answers(session, run_id)
            table = laid_out(session, row, hall, book, ledger.enter)
        try:
            with suppress(LLMError):  # A call the ledger lacks: the steps until there are compared.
                await play(table, SEARCHERS)
        finally:
            await hall.close()
        again = {f"{number}.{phase}": data for (number, phase), data in book.steps.items()}
        return compare(kept, again, numbers)


@dataclass
class _Wish:
    """Whether the run is to stop: asked of the job, or noted in the row of the run."""

    seat: Seat
    asked: Callable[[], bool]
    stop: bool = False

    def look(self) -> None:
        """Be heard of, and see."""
        self.stop = self.seat.beat() or self.asked() or self.stop


async def _watched(
    table: Table,
    house: GameHouse,
    report: Callable[[], None],
    keeper: runs.Keeper,
    wish: "_Wish",
) -> None:
    """Play, and twice a second note what was used and look for the wish to stop."""
    playing = asyncio.create_task(play(table, SEARCHERS))
    try:
        while not (await asyncio.wait([playing], timeout=TICK_S))[0]:
            wish.look()
            keeper.tick()
            report()
            if wish.stop:
                house.stop()
        await playing
    finally:
        playing.cancel()
        await asyncio.gather(playing, return_exceptions=True)
        report()


def _broken(error: BaseException) -> UserError:
    name = type(error).__name__
    return UserError(
        f"The program broke inside ({name}); what was finished is kept, the run can be resumed.",
        f"程序内部出错（{name}），已完成的部分都在，可以继续运行。",
    )
