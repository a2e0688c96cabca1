"""Which program runs a kind of job, what it may know, and what is checked before it is queued.

This room knows one program, its own selftest. Every other kind is registered from above, by whoever wires the
rooms together (`backend/job_programs.py`): the queue must not know what it queues.
"""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from backend.core.errors import UserError

JobConfig = dict[str, Any]
LLM_KEY_VARIABLE = "ZHUFU_LLM_API_KEY"


def _accept_any(_config: JobConfig) -> None:
    """Kinds whose program checks its own configuration."""


@dataclass(frozen=True)
class JobProgram:
    """A program (`python -m MODULE ARGS --job N`) and its rights.

    `secret_variables` are the only environment variables with secrets that it gets; `check_config` raises
    UserError for a configuration that cannot work; a `pausable` program looks at `JobReport.stop_requested()`.
    """

    module_name: str
    arguments: tuple[str, ...] = ()
    secret_variables: tuple[str, ...] = ()
    pausable: bool = True
    check_config: Callable[[JobConfig], None] = _accept_any

    def command_line(self, job_id: int) -> list[str]:
        """The command line that runs job `job_id`."""
        return [sys.executable, "-m", self.module_name, *self.arguments, "--job", str(job_id)]


class JobProgramRegistry:
    """The kinds of jobs that a queue takes and a worker runs, by name."""

    def __init__(self, programs: Mapping[str, JobProgram]) -> None:
        """`programs` by the kind of job that they run, as it is stored with the job; the selftest is added."""
        self._programs = {**programs, "selftest": JobProgram("backend.jobs.selftest")}

    def find(self, job_kind: str) -> JobProgram:
        """The program of a kind. Raises UserError where there is none."""
        if job_kind not in self._programs:
            raise UserError(
                f"There is no kind of job called “{job_kind}”; known: {', '.join(self._programs)}.",
                f"没有名为“{job_kind}”的任务类型，可用：{'、'.join(self._programs)}。",
            )
        return self._programs[job_kind]

    def config_to_store(self, job_kind: str, job_config: JobConfig | BaseModel) -> JobConfig:
        """The configuration as plain values, checked. Raises UserError for what cannot work or be stored.

        Typed settings were checked when they were parsed; plain values are checked here, by the kind's program.
        """
        job_program = self.find(job_kind)
        is_typed = isinstance(job_config, BaseModel)
        plain_config = job_config.model_dump(mode="json") if isinstance(job_config, BaseModel) else job_config
        try:
            # PostgreSQL's JSON has no NaN: refused here with a sentence instead of there with a traceback.
            json.dumps(plain_config, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise UserError(
                f"The settings of this job cannot be stored ({error}); use plain numbers, texts and lists.",
                f"任务设置无法保存（{error}），请只使用数字、文本和列表。",
            ) from error
        if not is_typed:
            job_program.check_config(plain_config)
        return plain_config


# What this room can run by itself.
OWN_PROGRAMS = JobProgramRegistry({})
