"""The commands `jobs …` and `worker`."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from backend.cli import job_commands
from backend.core.errors import NotFound
from backend.db.engine import Database
from backend.jobs.service import JobService

pytestmark = pytest.mark.database


def test_command_line(database: Database, home: Path) -> None:
    service = JobService(database, home)
    app = typer.Typer()
    job_commands.register(app)
    runner = CliRunner()

    def run(*arguments: str) -> dict[str, object]:
        result = runner.invoke(app, [*arguments, "--json"], catch_exceptions=False)
        assert result.exit_code == 0
        parsed: dict[str, object] = json.loads(result.stdout)
        return parsed

    job = service.submit("selftest", {"steps": 1}).id
    assert run("jobs", "pause", str(job))["status"] == "paused"
    assert run("jobs", "resume", str(job))["status"] == "queued"
    assert run("jobs", "cancel", str(job))["status"] == "cancelled"
    assert run("jobs", "show", str(job))["job"] == job
    assert run("jobs", "log", str(job)) == {"job": job, "lines": []}
    assert run("jobs", "again", str(job))["parent"] == job
    listed = run("jobs")["jobs"]
    assert isinstance(listed, list) and [entry["job"] for entry in listed] == [job + 1, job]
    assert "selftest" in runner.invoke(app, ["jobs"]).stdout
    with pytest.raises(NotFound):
        runner.invoke(app, ["jobs", "show", "99"], catch_exceptions=False)
