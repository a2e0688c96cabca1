"""Which program runs a kind of job, what it may know, and what is checked before it is queued."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from backend.core.errors import UserError
from backend.training.settings import build_config_check, check_serve_config

JobConfig = dict[str, Any]
LLM_KEY_VARIABLE = "ZHUFU_LLM_API_KEY"
HUB_TOKEN_VARIABLE = "HF_TOKEN"


def _accept_any(_config: JobConfig) -> None:
    """Kinds whose program checks its own configuration."""


@dataclass(frozen=True)
class JobProgram:
    """A program (`python -m MODULE ARGS --job N`) and its rights.

    `secrets` are the only environment variables with secrets that it gets; `check` raises UserError for
    a configuration that cannot work; a `pausable` program looks at `JobReport.stop_requested()`.
    """

    module_name: str
    arguments: tuple[str, ...] = ()
    secret_variables: tuple[str, ...] = ()
    pausable: bool = True
    check_config: Callable[[JobConfig], None] = _accept_any

    def command_line(self, job_id: int) -> list[str]:
        """The command line that runs job `job_id`."""
        return [sys.executable, "-m", self.module_name, *self.arguments, "--job", str(job_id)]


JOB_PROGRAMS: dict[str, JobProgram] = {
    "score": JobProgram("backend", ("score",), secret_variables=(LLM_KEY_VARIABLE,)),
    "pairs": JobProgram("backend", ("pairs",), secret_variables=(LLM_KEY_VARIABLE,)),
    "sft": JobProgram(
        "backend.training.programs.sft", secret_variables=(HUB_TOKEN_VARIABLE,), check_config=build_config_check("sft")
    ),
    "reward_model": JobProgram(
        "backend.training.programs.reward_model",
        secret_variables=(HUB_TOKEN_VARIABLE,),
        check_config=build_config_check("reward_model"),
    ),
    "grpo": JobProgram(
        "backend.training.programs.grpo",
        secret_variables=(HUB_TOKEN_VARIABLE, LLM_KEY_VARIABLE),
        check_config=build_config_check("grpo"),
    ),
    "serve": JobProgram(
        "backend.training.programs.serve",
        secret_variables=(HUB_TOKEN_VARIABLE,),
        pausable=False,
        check_config=check_serve_config,
    ),
    "principles": JobProgram("backend", ("principles",), secret_variables=(LLM_KEY_VARIABLE,)),
    "selftest": JobProgram("backend.jobs.selftest"),
}


def find_job_program(job_kind: str) -> JobProgram:
    """The kind called `name`. Raises UserError where there is none."""
    if job_kind not in JOB_PROGRAMS:
        raise UserError(
            f"There is no kind of job called “{job_kind}”; known: {', '.join(JOB_PROGRAMS)}.",
            f"没有名为“{job_kind}”的任务类型，可用：{'、'.join(JOB_PROGRAMS)}。",
        )
    return JOB_PROGRAMS[job_kind]


def check_job_config(job_kind: str, job_config: JobConfig) -> None:
    """Refuse before queueing what cannot work. Raises UserError."""
    job_program = find_job_program(job_kind)
    try:
        json.dumps(job_config, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"The settings of this job cannot be stored ({error}); use plain numbers, texts and lists.",
            f"任务设置无法保存（{error}），请只使用数字、文本和列表。",
        ) from error
    job_program.check_config(job_config)
