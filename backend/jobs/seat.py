"""The one seat at a run's table: whoever plays a run sits there, whether a job or a command.

A seat whose process is gone, or on another machine was not heard of for a while, is free again.
"""

import os
import socket
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import select, update

from backend.db.base import now
from backend.db.engine import Database
from backend.db.seated import Seated
from backend.errors import Conflict, NotFound
from backend.jobs.processes import Identity, identify

BEAT_S = 5.0
STALE_S = 60.0
_FREE: dict[str, Any] = {"player_host": None, "player_pid": None, "player_start": None, "beat_at": None}


@dataclass(frozen=True)
class RunTable:
    """Runs of one kind: their rows, what one is called, and the command that pauses it."""

    row: type[Seated]
    zh: str
    pause: str


@dataclass(frozen=True)
class Playing:
    """The process that plays a run; `stopping` where it was asked to stop after the calls in flight."""

    host: str
    pid: int
    stopping: bool = False


class Elsewhere(Conflict):
    """Another process plays this run; this one leaves it alone and changes nothing of it."""


class Seat:
    """Taken for as long as a run is played in this process."""

    def __init__(self, database: Database, table: RunTable, run_id: int) -> None:
        self._database = database
        self._table = table
        self._run_id = run_id
        me = identify(os.getpid())
        assert me is not None
        self._me = {"player_host": socket.gethostname(), "player_pid": me.pid, "player_start": me.start}
        self._beat = time.monotonic()

    def take(self, **begun: Any) -> None:
        """Sit down, and store `begun` with it. Raises Elsewhere where somebody sits there, NotFound."""
        with self._database.write() as session:
            row = session.get(self._table.row, self._run_id, with_for_update=True)
            if row is None:
                raise NotFound(
                    f"There is no run {self._run_id}.", f"没有编号为 {self._run_id} 的{self._table.zh}。"
                )
            refuse_second(self._table, row)
            for name, value in {**self._me, "beat_at": now(), "stop_wished": False, **begun}.items():
                setattr(row, name, value)

    def beat(self) -> bool:
        """Be heard of; whether somebody wishes the run to stop. Raises Elsewhere where the seat was lost."""
        row = self._table.row
        query = select(row.player_host, row.player_pid, row.player_start, row.stop_wished)
        with self._database.read() as session:
            *sits, wished = session.execute(query.where(row.id == self._run_id)).one()
        if sits != list(self._me.values()):
            raise Elsewhere(
                f"Run {self._run_id} was taken over by another process; this one leaves it alone.",
                f"{self._table.zh} {self._run_id} 已由另一个进程接手，这里不再继续。",
            )
        if time.monotonic() - self._beat >= BEAT_S:
            self._beat = time.monotonic()
            self.note(beat_at=now())
        return bool(wished)

    def leave(self) -> None:
        """Stand up, if this process still sits there."""
        self.note(**_FREE)

    def note(self, **values: Any) -> None:
        """Store these values in the row, if this process still sits there."""
        with self._database.write() as session:
            row = self._table.row
            own = [getattr(row, name) == value for name, value in self._me.items()]
            session.execute(update(row).where(row.id == self._run_id, *own).values(**values))


def playing(row: Seated) -> Playing | None:
    """Who plays the run now; None where nobody does, or no longer."""
    if row.player_host is None or row.player_pid is None or row.player_start is None:
        return None
    if row.player_host == socket.gethostname():
        there = Identity(row.player_pid, row.player_start).alive
    else:
        there = row.beat_at is not None and now() - row.beat_at < timedelta(seconds=STALE_S)
    return Playing(row.player_host, row.player_pid, row.stop_wished) if there else None


def refuse_second(table: RunTable, row: Seated) -> None:
    """Raises Elsewhere, with the sentence for whoever comes second, where somebody plays the run."""
    if (other := playing(row)) is not None:
        raise taken(table, row.id, other)


def taken(table: RunTable, run_id: int, other: Playing) -> Elsewhere:
    """The sentence for whoever comes second."""
    return Elsewhere(
        f"Run {run_id} is being played by process {other.pid} on {other.host}; "
        f"wait for it, or pause it (`{table.pause}`) first.",
        f"{table.zh} {run_id} 正由 {other.host} 上的进程 {other.pid} 进行，请等它结束，或先暂停它。",
    )


def not_a_job(table: RunTable, run_id: int, other: Playing) -> Conflict:
    """The sentence for whoever wants to cancel the job of a run that a command plays."""
    return Conflict(
        f"Run {run_id} is played by a command (process {other.pid}), not by a job; pause it.",
        f"{table.zh} {run_id} 由命令行进程 {other.pid} 进行，不是任务；请改用暂停。",
    )


def idle(table: RunTable, run_id: int) -> Conflict:
    """The sentence for whoever wants to stop a run that nobody plays."""
    return Conflict(f"Run {run_id} is not in the works.", f"{table.zh} {run_id} 没有在进行。")
