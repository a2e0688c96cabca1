"""Settings of a served model, checked before anything starts. No torch here."""

import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from backend.errors import UserError
from backend.network import is_loopback
from backend.training_runs.config import LATEST

_NAME = re.compile(r"[\w.-]+")


class ServeSettings(BaseModel):
    """A trained policy behind an OpenAI-compatible address."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    artifact: str = Field(LATEST, min_length=1, description="Policy: artifact:N, a folder, or latest.")
    engine: Literal["auto", "transformers", "vllm"] = Field(
        "auto", description="auto: vllm where it can run."
    )
    host: str = Field(
        "127.0.0.1", min_length=1, description="Address to listen on, one of this machine's own."
    )
    port: int = Field(0, ge=0, le=65535, description="0 takes a free one.")
    model: str | None = Field(None, max_length=60, description="Name of the model at that address.")
    idle_minutes: float = Field(
        0, ge=0, le=100_000, description="End after so long without a request; 0 never."
    )
    start_seconds: float = Field(600, gt=0, le=86_400, description="Longest wait until it answers.")

    @field_validator("host")
    @classmethod
    def _own_machine(cls, host: str) -> str:
        # The model servers know no key: on a network anybody could use the model, and the GPU.
        if not is_loopback(host):
            raise ValueError("a served model has no password; use 127.0.0.1, and a tunnel from elsewhere")
        return host

    @field_validator("model")
    @classmethod
    def _plain_name(cls, name: str | None) -> str | None:
        if name is not None and not _NAME.fullmatch(name):
            raise ValueError("use letters, digits, dots and dashes")
        return name


def parse_serve(values: Mapping[str, Any]) -> ServeSettings:
    """Typed settings. Raises UserError naming the field that is wrong."""
    try:
        return ServeSettings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "settings"
        raise UserError(
            f"serve: {field} = {first['input']!r} is not usable: {first['msg']}; correct {field}.",
            f"serve：{field} 的值 {first['input']!r} 不可用：{first['msg']}，请改正。",
        ) from error


def check_serve(config: dict[str, Any]) -> None:
    """A check of a job's stored configuration, for the queue. Raises UserError."""
    parse_serve(config)
