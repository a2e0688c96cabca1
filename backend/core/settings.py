"""Every setting, read once from `ZHUFU_*` and `.env`, then passed in and never changed."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from backend.core.errors import UserError

PROJECT_ROOT = Path(__file__).resolve().parent.parent.parent


class Environment(BaseSettings):
    """What is read from the environment and `.env`; build with `.load()` in a main only."""

    @classmethod
    def load(cls) -> Self:
        """Read the environment. Raises UserError naming the variable that is wrong."""
        try:
            return cls()
        except ValidationError as error:
            first_error = error.errors()[0]
            variable = (
                str(cls.model_config["env_prefix"])
                + "_".join(str(location_part) for location_part in first_error["loc"]).upper()
            )
            raise UserError(
                f"{variable} is not usable ({first_error['msg']}); correct it in the environment or in .env.",
                f"{variable} 的值不可用（{first_error['msg']}），请在环境变量或 .env 中改正。",
            ) from error
        except UnicodeDecodeError as error:
            raise _settings_file_error("it is not UTF-8 text", "不是 UTF-8 文本") from error
        except OSError as error:
            raise _settings_file_error(error.strerror or str(error), error.strerror or str(error)) from error


def _settings_file_error(reason: str, reason_zh: str) -> UserError:
    env_path = Path(".env").absolute()
    return UserError(
        f"The settings file {env_path} cannot be read ({reason}); correct it or move it away.",
        f"无法读取设置文件 {env_path}（{reason_zh}），请改正或移走它。",
    )


StarterMode = Literal["shipped", "auto", "offer", "off"]


class Settings(Environment):
    """Settings of one process."""

    model_config = SettingsConfigDict(env_prefix="ZHUFU_", env_file=".env", frozen=True, extra="ignore")

    home: Path = Field(Path("var"), description="Folder of the database, runs and artifacts.")
    database_url: str = Field("", description="SQLAlchemy URL; empty means SQLite at HOME/zhufu.db.")
    host: str = Field("127.0.0.1", description="Address the server listens on.")
    port: int = Field(7860, ge=0, le=65535, description="Port the server listens on.")
    password: SecretStr = Field(
        SecretStr(""), description="Password of the researcher; needed where other machines can connect."
    )
    allowed_hosts: str = Field(
        "", description="Names by which browsers may reach the server, besides this machine's own."
    )
    open_pages: str = Field("", description="Pages that need no password: annotate, write.")
    lease_seconds: int = Field(600, ge=5, description="How long an annotator holds an item, in seconds.")
    starter: StarterMode = Field(
        "shipped",
        description="The starter model: shipped uses the trained one that comes with the project.",
    )
    llm_base_url: str = Field("", description="Base URL of the default OpenAI-compatible endpoint.")
    llm_api_key: SecretStr = Field(SecretStr(""), description="Key of the default endpoint.")
    llm_model: str = Field("", description="Model name at the default endpoint.")

    @property
    def url(self) -> str:
        """SQLAlchemy URL of the database."""
        return self.database_url or f"sqlite:///{self.home.resolve() / 'zhufu.db'}"
