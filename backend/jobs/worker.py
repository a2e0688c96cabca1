"""The worker: takes jobs from the queue, starts their programs, and says how they ended."""

import os
import socket
import sys
import threading
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from backend.db.base import now
from backend.db.engine import Database
from backend.errors import Message, Unavailable, UserError
from backend.jobs import queue, registry
from backend.jobs.devices import find_devices
from backend.jobs.guard import disk_full, obstacle
from backend.jobs.local import LocalRunner, Run
from backend.jobs.options import DEFAULTS, JobOptions
from backend.jobs.outcome import decide
from backend.jobs.processes import Identity
from backend.jobs.queue import Held, Owner, Standing
from backend.jobs.vocabulary import ACTIVE, JobStatus


class Worker:
    """One loop over the queue of one database. It holds nothing that the rows do not say.

    When it dies its programs go on, and another worker of the same host takes them over.
    """

    def __init__(
        self,
        database: Database,
        home: Path,
        slots: int | None = None,
        name: str | None = None,
        *,
        options: JobOptions = DEFAULTS,
        parent: Identity | None = None,
    ) -> None:
        host = socket.gethostname()
        self._database = database
        self._home = home.resolve()
        self._options = options
        self._owner = Owner(name or f"{host}-{os.getpid()}", host)
        self._devices = find_devices(slots)
        self._parent = parent
        url = database.engine.url.render_as_string(hide_password=False)
        self._runner = LocalRunner(self._home, url)
        self._runs: dict[int, Run] = {}
        self._disowned: list[Run] = []
        self._asked_to_leave = threading.Event()
        self._next_beat = 0.0
        self._ended: list[int] = []
        self._cut_off = False

    def run(self, *, once: bool = False) -> list[int]:
        """Work until `stop`; with `once` until nothing is queued or running that this worker can do.

        Returns the jobs whose end it saw. Raises Conflict where a living worker has the same name.
        """
        with suppress(Unavailable):  # The first sign of life registers what could not be registered here.
            self._register()
        try:
            while not self._asked_to_leave.is_set() and not self._done(once):
                self._asked_to_leave.wait(self._options.poll_seconds)
        finally:
            self._unregister()
        return self._ended

    def stop(self) -> None:
        """End `run` soon; programs go on and are taken over by the next worker."""
        self._asked_to_leave.set()

    def _done(self, once: bool) -> bool:
        """One look at everything; whether the worker may end."""
        try:
            self._beat()
            self._attend_all()
            while self._start_next():
                pass
            busy, self._cut_off = bool(self._runs), False
            return not busy and (once or (self._keeper_gone() and self._leave()))
        except (Unavailable, OSError) as error:
            # The programs go on without database and disk, so the worker may not give up either.
            if not self._cut_off:
                say(f"trying again: {error}")
            self._cut_off = True
            return False

    def _beat(self) -> None:
        if time.monotonic() < self._next_beat:
            return
        self._next_beat = time.monotonic() + self._options.heartbeat_seconds
        with self._database.write() as session:
            known = queue.beat(session, self._owner, self._runs)
        if not known:
            self._register()
        self._adopt_orphans()

    def _adopt_orphans(self) -> None:
        stale = now() - timedelta(seconds=self._options.stale_seconds)
        silent = now() - timedelta(seconds=self._options.lost_seconds)
        with self._database.read() as session:
            found = queue.orphans(session, self._owner, self._runs, stale)
            lost = queue.silent(session, self._owner, silent)
        for job in found:
            with self._database.write() as session:
                held = queue.adopt(session, self._owner, job)
            if held is not None:
                say(f"job {held.job_id}: taken over from {job.worker}")
                self._runs[held.job_id] = self._runner.find(held)
        for job in lost:
            with self._database.write() as session:
                queue.lose(session, job)

    def _attend_all(self) -> None:
        self._disowned = [run for run in self._disowned if run.running()]
        if not self._runs:
            return
        with self._database.read() as session:
            standings = queue.standings(session, self._runs)
        for job_id, run in list(self._runs.items()):
            standing = standings.get(job_id)
            if standing is not None and self._still_mine(run, standing):
                self._attend(run, standing.status)
            else:
                self._let_go(run, standing)

    def _still_mine(self, run: Run, standing: Standing) -> bool:
        same = standing.attempt == run.held.attempt and standing.worker == self._owner.name
        return same and standing.status in ACTIVE

    def _attend(self, run: Run, status: JobStatus) -> None:
        if run.running():
            if status is JobStatus.CANCELLING:
                run.ask_to_stop()
                if run.overdue(self._options.grace_seconds):
                    run.kill()
        elif run.kill() == 0:
            self._finish(run.held, run)
            del self._runs[run.held.job_id]

    def _finish(self, held: Held, run: Run) -> None:
        ended, lines, full = run.ended(), run.last_lines(), disk_full(self._home)
        with self._database.write() as session:
            queue.finish(
                session, self._owner, held, lambda status: decide(status, ended, lines, disk_full=full)
            )
        self._ended.append(held.job_id)
        say(f"job {held.job_id}: ended ({ended})")

    def _let_go(self, run: Run, standing: Standing | None) -> None:
        """Another worker here has taken over, or the job was given up while this machine was away."""
        del self._runs[run.held.job_id]
        self._disowned.append(run)
        taken_over = (
            standing is not None
            and standing.host == self._owner.host
            and standing.attempt == run.held.attempt
            and standing.status in ACTIVE
        )
        if not taken_over:
            run.kill_session()

    def _start_next(self) -> bool:
        """Start the best job that fits; whether there may be another."""
        if self._asked_to_leave.is_set() or not self._anything_queued() or self._keeper_gone():
            return False
        light = sum(not run.held.devices for run in self._runs.values()) < self._options.light_jobs
        with self._database.write() as session:
            self._ended += queue.end_stranded(session)
            held = queue.claim(session, self._owner, self._devices, light=light)
        if held is not None:
            self._start(held)
        return held is not None

    def _anything_queued(self) -> bool:
        # Looking first keeps an idle worker from taking the write lock twice a second.
        with self._database.read() as session:
            return queue.anything_queued(session)

    def _start(self, held: Held) -> None:
        why = obstacle(self._home, self._options)
        if why is not None:
            return self._refuse(held, why)
        try:
            run = self._runner.prepare(held)
        except UserError as error:
            return self._refuse(held, error.message)
        except OSError as error:
            return self._refuse(held, _not_started(error))
        self._runs[held.job_id] = run
        try:
            with self._database.write() as session:
                ours = queue.record_start(session, self._owner, held, run.leader, run.log)
            if ours:
                run.release()
        finally:
            run.withdraw()
        say(f"job {held.job_id}: started ({held.kind}, attempt {held.attempt})")
        return None

    def _refuse(self, held: Held, why: Message) -> None:
        with self._database.write() as session:
            queue.finish(session, self._owner, held, lambda _status: (JobStatus.FAILED, why))
        self._ended.append(held.job_id)
        say(f"job {held.job_id}: {why.en}")

    def _register(self) -> None:
        with self._database.write() as session:
            registry.register(session, self._owner, self._home, self._devices, self._parent)

    def _unregister(self) -> None:
        try:
            with self._database.write() as session:
                registry.remove(session, self._owner)
        except Unavailable as error:
            say(f"the worker's row stays behind ({error})")

    def _keeper_gone(self) -> bool:
        """Whether the application that this worker belongs to has ended; a new one may take its place."""
        if self._parent is None or self._parent.alive:
            return False
        with self._database.read() as session:
            row = registry.find_worker(session, self._owner)
            self._parent = registry.parent_of(row) if row else self._parent
        return self._parent is not None and not self._parent.alive

    def _leave(self) -> bool:
        with self._database.write() as session:
            return registry.leave(session, self._owner, self._parent)


def _not_started(error: OSError) -> Message:
    cause = error.strerror or str(error)
    return Message(
        f"The program could not be started ({cause}: {error.filename}); resume the job when that is mended.",
        f"程序无法启动（{cause}：{error.filename}），修复后可继续任务。",
    )


def say(text: str) -> None:
    """A line in the worker's own log, where the disk has room for one."""
    with suppress(OSError):
        print(f"{now().isoformat(timespec='seconds')} worker: {text}", file=sys.stderr, flush=True)
