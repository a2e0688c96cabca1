"""The one process that works on a run: whoever plays it, job or command, stands in its row.

A lock whose process is gone, or on another machine was not heard of for a while, is free again."""

import os
import socket
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import select, update

from backend.core.errors import Conflict, NotFound
from backend.core.processes import ProcessIdentity, identify_process
from backend.db.base import LockableRun, utc_now
from backend.db.engine import Database
from backend.runs.hold import HeldElsewhere, RunHolder

HEARTBEAT_S = 5.0
STALE_AFTER_S = 60.0
_NO_HOLDER: dict[str, Any] = {"player_host": None, "player_pid": None, "player_start": None, "beat_at": None}


@dataclass(frozen=True)
class RunTable:
    """Runs of one kind: their rows, what one is called, and the command that pauses it."""

    row_class: type[LockableRun]
    title_zh: str
    pause_command: str


class RunLock:
    """Taken for as long as a run is played in this process."""

    def __init__(self, database: Database, run_table: RunTable, run_id: int) -> None:
        self._database = database
        self._run_table = run_table
        self._run_id = run_id
        this_process = identify_process(os.getpid())
        assert this_process is not None
        self._holder_columns = {
            "player_host": socket.gethostname(),
            "player_pid": this_process.pid,
            "player_start": this_process.start_time,
        }
        self._last_heartbeat = time.monotonic()

    def acquire(self, **begun: Any) -> None:
        """Sit down, and store `begun` with it. Raises Elsewhere where somebody sits there, NotFound."""
        with self._database.write() as session:
            run_row = session.get(self._run_table.row_class, self._run_id, with_for_update=True)
            if run_row is None:
                raise NotFound(
                    f"There is no run {self._run_id}.",
                    f"没有编号为 {self._run_id} 的{self._run_table.title_zh}。",
                )
            refuse_if_held(self._run_table, run_row)
            for column_name, column_value in {
                **self._holder_columns,
                "beat_at": utc_now(),
                "stop_wished": False,
                **begun,
            }.items():
                setattr(run_row, column_name, column_value)

    def heartbeat(self) -> bool:
        """Be heard of; whether somebody wishes the run to stop. Raises Elsewhere where the seat was lost."""
        row_class = self._run_table.row_class
        holder_query = select(
            row_class.player_host, row_class.player_pid, row_class.player_start, row_class.stop_wished
        )
        with self._database.read() as session:
            *holder_values, stop_requested = session.execute(holder_query.where(row_class.id == self._run_id)).one()
        if holder_values != list(self._holder_columns.values()):
            raise HeldElsewhere(
                f"Run {self._run_id} was taken over by another process; this one leaves it alone.",
                f"{self._run_table.title_zh} {self._run_id} 已由另一个进程接手，这里不再继续。",
            )
        if time.monotonic() - self._last_heartbeat >= HEARTBEAT_S:
            self._last_heartbeat = time.monotonic()
            self.store_values(beat_at=utc_now())
        return bool(stop_requested)

    def release(self) -> None:
        """Stand up, if this process still sits there."""
        self.store_values(**_NO_HOLDER)

    def store_values(self, **values: Any) -> None:
        """Store these values in the row, if this process still sits there."""
        with self._database.write() as session:
            row_class = self._run_table.row_class
            holder_conditions = [
                getattr(row_class, column_name) == column_value
                for column_name, column_value in self._holder_columns.items()
            ]
            session.execute(update(row_class).where(row_class.id == self._run_id, *holder_conditions).values(**values))


def find_run_holder(run_row: LockableRun) -> RunHolder | None:
    """Who plays the run now; None where nobody does, or no longer."""
    if run_row.player_host is None or run_row.player_pid is None or run_row.player_start is None:
        return None
    if run_row.player_host == socket.gethostname():
        is_present = ProcessIdentity(run_row.player_pid, run_row.player_start).is_alive
    else:
        is_present = run_row.beat_at is not None and utc_now() - run_row.beat_at < timedelta(seconds=STALE_AFTER_S)
    return RunHolder(run_row.player_host, run_row.player_pid, run_row.stop_wished) if is_present else None


def refuse_if_held(run_table: RunTable, run_row: LockableRun) -> None:
    """Raises Elsewhere, with the sentence for whoever comes second, where somebody plays the run."""
    if (run_holder := find_run_holder(run_row)) is not None:
        raise held_elsewhere_error(run_table, run_row.id, run_holder)


def held_elsewhere_error(run_table: RunTable, run_id: int, run_holder: RunHolder) -> HeldElsewhere:
    """The sentence for whoever comes second."""
    return HeldElsewhere(
        f"Run {run_id} is being played by process {run_holder.pid} on {run_holder.host}; "
        f"wait for it, or pause it (`{run_table.pause_command}`) first.",
        f"{run_table.title_zh} {run_id} 正由 {run_holder.host} 上的进程 {run_holder.pid} 进行，请等它结束，或先暂停它。",
    )


def not_a_job_error(run_table: RunTable, run_id: int, run_holder: RunHolder) -> Conflict:
    """The sentence for whoever wants to cancel the job of a run that a command plays."""
    return Conflict(
        f"Run {run_id} is played by a command (process {run_holder.pid}), not by a job; pause it.",
        f"{run_table.title_zh} {run_id} 由命令行进程 {run_holder.pid} 进行，不是任务；请改用暂停。",
    )


def not_running_error(run_table: RunTable, run_id: int) -> Conflict:
    """The sentence for whoever wants to stop a run that nobody plays."""
    return Conflict(f"Run {run_id} is not in the works.", f"{run_table.title_zh} {run_id} 没有在进行。")
