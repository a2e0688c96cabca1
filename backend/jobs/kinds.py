"""Which program runs a kind of job, what it may know, and what is checked before it is queued."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from backend.errors import UserError
from backend.training_runs.config import checker
from backend.training_runs.config_serve import check_serve

Config = dict[str, Any]
LLM_KEY = "ZHUFU_LLM_API_KEY"
HUB_TOKEN = "HF_TOKEN"


def _anything(_config: Config) -> None:
    """Kinds whose program checks its own configuration."""


@dataclass(frozen=True)
class Kind:
    """A program (`python -m MODULE ARGS --job N`) and its rights.

    `secrets` are the only environment variables with secrets that it gets; `check` raises UserError for
    a configuration that cannot work; a `pausable` program looks at `JobReport.stop_requested()`.
    """

    module: str
    arguments: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    pausable: bool = True
    check: Callable[[Config], None] = _anything

    def argv(self, job_id: int) -> list[str]:
        """The command line that runs job `job_id`."""
        return [sys.executable, "-m", self.module, *self.arguments, "--job", str(job_id)]


KINDS: dict[str, Kind] = {
    "score": Kind("backend", ("score",), secrets=(LLM_KEY,)),
    "pairs": Kind("backend", ("pairs",), secrets=(LLM_KEY,)),
    "sft": Kind("backend.training.sft", secrets=(HUB_TOKEN,), check=checker("sft")),
    "reward_model": Kind(
        "backend.training.reward_model", secrets=(HUB_TOKEN,), check=checker("reward_model")
    ),
    "grpo": Kind("backend.training.grpo", secrets=(HUB_TOKEN, LLM_KEY), check=checker("grpo")),
    "serve": Kind("backend.training.serve", secrets=(HUB_TOKEN,), pausable=False, check=check_serve),
    "principles": Kind("backend", ("principles",), secrets=(LLM_KEY,)),
    "selftest": Kind("backend.jobs.selftest"),
}


def kind_of(name: str) -> Kind:
    """The kind called `name`. Raises UserError where there is none."""
    if name not in KINDS:
        raise UserError(
            f"There is no kind of job called “{name}”; known: {', '.join(KINDS)}.",
            f"没有名为“{name}”的任务类型，可用：{'、'.join(KINDS)}。",
        )
    return KINDS[name]


def check_config(name: str, config: Config) -> None:
    """Refuse before queueing what cannot work. Raises UserError."""
    kind = kind_of(name)
    try:
        json.dumps(config, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"The settings of this job cannot be stored ({error}); use plain numbers, texts and lists.",
            f"任务设置无法保存（{error}），请只使用数字、文本和列表。",
        ) from error
    kind.check(config)
