"""Proof that background jobs work on this machine, without touching anybody's queue."""

from pathlib import Path
from tempfile import TemporaryDirectory

from backend.db.engine import Database
from backend.db.migrate import migrate
from backend.jobs.options import DEFAULT_OPTIONS, JobOptions
from backend.jobs.records import JobInfo
from backend.jobs.service import JobService
from backend.jobs.worker import Worker


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
            Worker(database, temporary_home, options=options).run(once=True)
            return service.job(selftest_job.id)
        finally:
            database.close()
