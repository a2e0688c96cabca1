"""Proof that background jobs work on this machine, without touching anybody's queue."""

from pathlib import Path
from tempfile import TemporaryDirectory

from backend.db.engine import Database
from backend.db.migrate import migrate
from backend.jobs.options import DEFAULTS, JobOptions
from backend.jobs.records import JobInfo
from backend.jobs.service import JobService
from backend.jobs.worker import Worker


def check_jobs(options: JobOptions = DEFAULTS) -> JobInfo:
    """Run the selftest through a real worker in a temporary home; the job as it ended.

    Raises UserError where the machine has too little disk or memory to start a job.
    """
    with TemporaryDirectory(prefix="zhufu-") as folder:
        home = Path(folder)
        database = Database(f"sqlite:///{home / 'zhufu.db'}")
        try:
            migrate(database)
            service = JobService(database, home, options)
            job = service.submit("selftest", {"steps": 3})
            Worker(database, home, options=options).run(once=True)
            return service.job(job.id)
        finally:
            database.close()
