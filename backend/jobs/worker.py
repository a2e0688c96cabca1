"""The worker: takes jobs from the queue, starts their programs, and records how they ended."""

import os
import socket
import sys
import threading
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from backend.core.enums import ACTIVE_STATUSES, JobStatus
from backend.core.errors import Message, Unavailable, UserError
from backend.core.processes import ProcessIdentity
from backend.db.base import utc_now
from backend.db.engine import Database
from backend.jobs import queue, workers
from backend.jobs.device_memory import find_device_memory
from backend.jobs.local import CPU_PREFIX, JobProcess, LocalRunner, find_devices, find_obstacle, is_disk_full
from backend.jobs.outcome import decide_status
from backend.jobs.programs import OWN_PROGRAMS, JobProgramRegistry
from backend.jobs.queue import HeldJob, JobRowState, WorkerIdentity
from backend.jobs.records import DEFAULT_OPTIONS, JobOptions


class Worker:
    """One loop over the queue of one database. It knows nothing that is not in the rows too.

    So when it dies its programs go on, and another worker of the same host takes them over.
    """

    def __init__(
        self,
        database: Database,
        home_folder: Path,
        slot_limit: int | None = None,
        worker_name: str | None = None,
        *,
        options: JobOptions = DEFAULT_OPTIONS,
        job_programs: JobProgramRegistry = OWN_PROGRAMS,
        parent_process: ProcessIdentity | None = None,
    ) -> None:
        host_name = socket.gethostname()
        self._database = database
        self._home_folder = home_folder.resolve()
        self._options = options
        # The process number keeps the names of several workers of one host apart.
        self._worker_identity = WorkerIdentity(worker_name or f"{host_name}-{os.getpid()}", host_name)
        self._devices = find_devices(slot_limit)
        self._device_memory = find_device_memory(self._devices, CPU_PREFIX)
        self._parent_process = parent_process
        database_url = database.engine.url.render_as_string(hide_password=False)
        self._runner = LocalRunner(self._home_folder, database_url, job_programs)
        self._job_processes: dict[int, JobProcess] = {}
        self._disowned_processes: list[JobProcess] = []
        self._stop_event = threading.Event()
        self._next_heartbeat = 0.0
        self._ended_job_ids: list[int] = []
        self._is_cut_off = False

    def run(self, *, once: bool = False) -> list[int]:
        """Work until asked to stop; with `once` until nothing is queued or running that this worker can do.

        Returns the jobs whose end it saw. Raises Conflict where a living worker has the same name.
        """
        with suppress(Unavailable):  # The first sign of life registers what could not be registered here.
            self._register()
        try:
            while not self._stop_event.is_set() and not self._work_once(once):
                self._stop_event.wait(self._options.poll_seconds)
        finally:
            self._unregister()
        return self._ended_job_ids

    def stop(self) -> None:
        """End the loop soon; programs go on and are taken over by the next worker."""
        self._stop_event.set()

    def _work_once(self, once: bool) -> bool:
        """One look at everything; whether the worker may end."""
        try:
            self._send_heartbeat()
            self._check_all_jobs()
            # Until nothing more fits: several devices may be free at once.
            while self._start_next():
                pass
            is_busy, self._is_cut_off = bool(self._job_processes), False
            return not is_busy and (once or (self._is_keeper_gone() and self._leave_registry()))
        except (Unavailable, OSError) as error:
            # The programs go on without database and disk, so the worker may not give up either.
            if not self._is_cut_off:
                write_log(f"trying again: {error}")
            self._is_cut_off = True
            return False

    def _send_heartbeat(self) -> None:
        if time.monotonic() < self._next_heartbeat:
            return
        self._next_heartbeat = time.monotonic() + self._options.heartbeat_seconds
        with self._database.write() as session:
            is_registered = queue.record_heartbeat(session, self._worker_identity, self._job_processes)
        # Somebody's clean-up took the row of a worker that had been away, or the start could not write one.
        if not is_registered:
            self._register()
        self._adopt_orphans()

    def _adopt_orphans(self) -> None:
        stale_before = utc_now() - timedelta(seconds=self._options.stale_seconds)
        silent_before = utc_now() - timedelta(seconds=self._options.lost_seconds)
        with self._database.read() as session:
            orphaned_jobs = queue.find_orphans(session, self._worker_identity, self._job_processes, stale_before)
            silent_jobs = queue.find_silent_jobs(session, self._worker_identity, silent_before)
        for job in orphaned_jobs:
            with self._database.write() as session:
                held_job = queue.adopt_job(session, self._worker_identity, job)
            if held_job is not None:
                write_log(f"job {held_job.job_id}: taken over from {job.worker}")
                self._job_processes[held_job.job_id] = self._runner.find_process(held_job)
        for job in silent_jobs:
            with self._database.write() as session:
                queue.give_up_job(session, job)

    def _check_all_jobs(self) -> None:
        self._disowned_processes = [job_process for job_process in self._disowned_processes if job_process.is_running()]
        if not self._job_processes:
            return
        with self._database.read() as session:
            row_states = queue.load_row_states(session, self._job_processes)
        for job_id, job_process in list(self._job_processes.items()):
            row_state = row_states.get(job_id)
            if row_state is not None and self._still_holds(job_process, row_state):
                self._check_process(job_process, row_state.status)
            else:
                self._release_process(job_process, row_state)

    def _still_holds(self, job_process: JobProcess, row_state: JobRowState) -> bool:
        same_attempt = (
            row_state.attempt == job_process.held_job.attempt and row_state.worker == self._worker_identity.name
        )
        return same_attempt and row_state.status in ACTIVE_STATUSES

    def _check_process(self, job_process: JobProcess, job_status: JobStatus) -> None:
        if job_process.is_running():
            if job_status is JobStatus.CANCELLING:
                job_process.request_stop()
                if job_process.is_overdue(self._options.grace_seconds):
                    job_process.kill()
        # Only when no process of the run is left is the job over; its devices are free then, and not before.
        elif job_process.kill() == 0:
            self._record_end(job_process.held_job, job_process)
            del self._job_processes[job_process.held_job.job_id]

    def _record_end(self, held_job: HeldJob, job_process: JobProcess) -> None:
        program_exit, log_lines, disk_is_full = (
            job_process.program_exit(),
            job_process.last_lines(),
            is_disk_full(self._home_folder),
        )
        with self._database.write() as session:
            queue.finish_attempt(
                session,
                self._worker_identity.name,
                held_job,
                lambda status: decide_status(status, program_exit, log_lines, disk_full=disk_is_full),
            )
        self._ended_job_ids.append(held_job.job_id)
        write_log(f"job {held_job.job_id}: ended ({program_exit})")

    def _release_process(self, job_process: JobProcess, row_state: JobRowState | None) -> None:
        """Another worker here has taken over, or the job was given up while this machine was away."""
        del self._job_processes[job_process.held_job.job_id]
        self._disowned_processes.append(job_process)
        taken_over = (
            row_state is not None
            and row_state.host == self._worker_identity.host
            and row_state.attempt == job_process.held_job.attempt
            and row_state.status in ACTIVE_STATUSES
        )
        if not taken_over:
            job_process.kill_session()

    def _start_next(self) -> bool:
        """Start the best job that fits; whether there may be another."""
        if self._stop_event.is_set() or not self._has_startable_job() or self._is_keeper_gone():
            return False
        allow_light = (
            sum(not job_process.held_job.devices for job_process in self._job_processes.values())
            < self._options.light_jobs
        )
        with self._database.write() as session:
            self._ended_job_ids += queue.fail_stranded_jobs(session)
            held_job = queue.claim_job(session, self._worker_identity, self._devices, allow_light=allow_light)
        if held_job is not None:
            self._start_job(held_job)
        return held_job is not None

    def _has_startable_job(self) -> bool:
        # Looking first keeps an idle worker from taking the write lock twice a second.
        with self._database.read() as session:
            return queue.has_startable_job(session)

    def _start_job(self, held_job: HeldJob) -> None:
        obstacle_message = find_obstacle(self._home_folder, self._options)
        if obstacle_message is not None:
            return self._refuse_job(held_job, obstacle_message)
        try:
            job_process = self._runner.prepare_process(held_job)
        except UserError as error:
            return self._refuse_job(held_job, error.message)
        except OSError as error:
            return self._refuse_job(held_job, _start_failure(error))
        self._job_processes[held_job.job_id] = job_process
        try:
            with self._database.write() as session:
                start_recorded = queue.record_process_start(
                    session, self._worker_identity, held_job, job_process.leader_process, job_process.log_path
                )
            # A program whose row does not know it could never be stopped; the launcher ends without starting it.
            if start_recorded:
                job_process.release_program()
        finally:
            job_process.close_launcher_input()
        write_log(f"job {held_job.job_id}: started ({held_job.job_kind}, attempt {held_job.attempt})")
        return None

    def _refuse_job(self, held_job: HeldJob, explanation: Message) -> None:
        with self._database.write() as session:
            queue.finish_attempt(
                session, self._worker_identity.name, held_job, lambda _status: (JobStatus.FAILED, explanation)
            )
        self._ended_job_ids.append(held_job.job_id)
        write_log(f"job {held_job.job_id}: {explanation.en}")

    def _register(self) -> None:
        with self._database.write() as session:
            workers.register_worker(
                session,
                self._worker_identity,
                self._home_folder,
                self._devices,
                self._parent_process,
                self._device_memory,
            )

    def _unregister(self) -> None:
        try:
            with self._database.write() as session:
                workers.remove_worker(session, self._worker_identity)
        except Unavailable as error:
            write_log(f"the worker's row stays behind ({error})")

    def _is_keeper_gone(self) -> bool:
        """Whether the application that this worker belongs to has ended; a new one may take its place."""
        if self._parent_process is None or self._parent_process.is_alive:
            return False
        with self._database.read() as session:
            worker_row = workers.find_worker(session, self._worker_identity)
            self._parent_process = workers.parent_identity(worker_row) if worker_row else self._parent_process
        return self._parent_process is not None and not self._parent_process.is_alive

    def _leave_registry(self) -> bool:
        with self._database.write() as session:
            return workers.leave_registry(session, self._worker_identity, self._parent_process)


def _start_failure(error: OSError) -> Message:
    cause = error.strerror or str(error)
    return Message(
        f"The program could not be started ({cause}: {error.filename}); resume the job when that is mended.",
        f"程序无法启动（{cause}：{error.filename}），修复后可继续任务。",
    )


def write_log(line_text: str) -> None:
    """A line in the worker's own log, where the disk has room for one."""
    with suppress(OSError):
        print(f"{utc_now().isoformat(timespec='seconds')} worker: {line_text}", file=sys.stderr, flush=True)
