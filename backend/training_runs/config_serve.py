"""Settings of a served model, checked before anything starts. No torch here."""

import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from backend.errors import UserError
from backend.network import is_loopback
from backend.training_runs.config import LATEST

_NAME_PATTERN = re.compile(r"[\w.-]+")


class ServeSettings(BaseModel):
    """A trained policy behind an OpenAI-compatible address."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    artifact: str = Field(LATEST, min_length=1, description="Policy: artifact:N, a folder, or latest.")
    engine: Literal["auto", "transformers", "vllm"] = Field("auto", description="auto: vllm where it can run.")
    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on, one of this machine's own.")
    port: int = Field(0, ge=0, le=65535, description="0 takes a free one.")
    model: str | None = Field(None, max_length=60, description="Name of the model at that address.")
    idle_minutes: float = Field(0, ge=0, le=100_000, description="End after so long without a request; 0 never.")
    start_seconds: float = Field(600, gt=0, le=86_400, description="Longest wait until it answers.")

    @field_validator("host")
    @classmethod
    def _check_host(cls, host_address: str) -> str:
        # The model servers know no key: on a network anybody could use the model, and the GPU.
        if not is_loopback(host_address):
            raise ValueError("a served model has no password; use 127.0.0.1, and a tunnel from elsewhere")
        return host_address

    @field_validator("model")
    @classmethod
    def _check_model_name(cls, model_name: str | None) -> str | None:
        if model_name is not None and not _NAME_PATTERN.fullmatch(model_name):
            raise ValueError("use letters, digits, dots and dashes")
        return model_name


def parse_serve_settings(setting_values: Mapping[str, Any]) -> ServeSettings:
    """Typed settings. Raises UserError naming the field that is wrong."""
    try:
        return ServeSettings(**setting_values)
    except ValidationError as error:
        first_error = error.errors()[0]
        setting_name = ".".join(str(location_part) for location_part in first_error["loc"]) or "settings"
        raise UserError(
            f"serve: {setting_name} = {first_error['input']!r} is not usable: {first_error['msg']}; correct {setting_name}.",
            f"serve：{setting_name} 的值 {first_error['input']!r} 不可用：{first_error['msg']}，请改正。",
        ) from error


def check_serve_config(job_config: dict[str, Any]) -> None:
    """A check of a job's stored configuration, for the queue. Raises UserError."""
    parse_serve_settings(job_config)
