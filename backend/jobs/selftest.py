"""A tiny real program that proves queue, worker and runner on this machine without touching anybody's queue."""

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from backend.core.errors import UserError
from backend.core.settings import Settings
from backend.db.engine import Database
from backend.db.job_tables import Job
from backend.db.migrate import migrate
from backend.jobs.messages import COUNTED, MessageTemplate
from backend.jobs.outcome import STOPPED
from backend.jobs.records import DEFAULT_OPTIONS, JobInfo, JobOptions
from backend.jobs.report import JobReport
from backend.jobs.service import JobService
from backend.jobs.worker import Worker

COUNTING = MessageTemplate(
    "counting",
    "counting from {start} to {steps} as process {process}",
    "进程 {process} 从 {start} 数到 {steps}",
)


def main() -> None:
    """Run the job named on the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--job", type=int, required=True)
    job_id = parser.parse_args().job
    settings = Settings.load()
    database = Database(settings.url)
    try:
        with database.read() as session:
            job = session.get_one(Job, job_id)
        with JobReport(database, job_id) as report:
            exit_code = count_steps(job.config, Path(job.log_path or "").parent, report)
    except UserError as error:
        print(f"error: {error}", flush=True)
        exit_code = 2
    finally:
        database.close()
    sys.exit(exit_code)


def count_steps(job_config: dict[str, Any], run_folder: Path, report: JobReport) -> int:
    """Count to the configured number of steps from where the checkpoint stands; the exit code."""
    step_count, step_seconds = int(job_config.get("steps", 3)), float(job_config.get("seconds", 0.0))
    if job_config.get("ignore_sigterm"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child_process = _start_child(job_config.get("child"))
    checkpoint = run_folder / "checkpoint.txt"
    start_step = int(checkpoint.read_text()) if checkpoint.exists() else 0
    if "stop_seconds" in job_config:
        report.stop_takes(float(job_config["stop_seconds"]))
    report.log(COUNTING.fill(start=start_step, steps=step_count, process=os.getpid()))
    for step in range(start_step + 1, step_count + 1):
        time.sleep(step_seconds)
        _fail_as_configured(job_config, step)
        _save_checkpoint(checkpoint, step)
        report.metric(step, count=step, attempt_start=start_step)
        report.progress(step / step_count, COUNTED.fill(done=step, total=step_count))
        if "until" in job_config and Path(job_config["until"]).exists():
            break
        if report.stop_requested() and not job_config.get("ignore_sigterm"):
            return STOPPED
    if child_process is not None and not job_config.get("linger"):
        child_process.kill()
        child_process.wait()
    return 0


def _save_checkpoint(checkpoint: Path, step: int) -> None:
    # Renamed when whole: the worker may kill this program at any moment, and half a number misleads the next attempt.
    draft_path = checkpoint.with_suffix(".new")
    draft_path.write_text(str(step))
    draft_path.replace(checkpoint)


def _fail_as_configured(job_config: dict[str, Any], step: int) -> None:
    if step == job_config.get("fail_at"):
        raise ValueError(f"step {step} went wrong")
    if step == job_config.get("error_at"):
        raise UserError(f"Step {step} is not possible.", f"第 {step} 步无法进行。")
    if step == job_config.get("kill_at"):
        os.kill(os.getpid(), signal.SIGKILL)


def _start_child(child_kind: str | None) -> "subprocess.Popen[bytes] | None":
    if child_kind is None:
        return None
    sleep_command = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"]
    if child_kind == "session":
        return subprocess.Popen(sleep_command, start_new_session=True)
    return subprocess.Popen(sleep_command, process_group=0)


if __name__ == "__main__":
    main()


def check_jobs(options: JobOptions = DEFAULT_OPTIONS) -> JobInfo:
    """Run the selftest through a real worker in a temporary home; the job as it ended.

    Raises UserError where the machine has too little disk or memory to start a job.
    """
    with TemporaryDirectory(prefix="zhufu-") as temporary_folder:
        temporary_home = Path(temporary_folder)
        database = Database(f"sqlite:///{temporary_home / 'zhufu.db'}")
        try:
            migrate(database)
            service = JobService(database, temporary_home, options)
            selftest_job = service.submit("selftest", {"steps": 3})
            # In this very process, so that nothing is left behind when the check is broken off.
            Worker(database, temporary_home, options=options).run(once=True)
            return service.job(selftest_job.id)
        finally:
            database.close()
