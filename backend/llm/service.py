"""Endpoints of the house: entered in the page or given by the environment, and clients for them."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pydantic import SecretStr
from sqlalchemy import delete, select

from backend.db.engine import Database
from backend.db.llm_tables import EndpointRow
from backend.errors import NotFound, UserError
from backend.llm.budget import Budget
from backend.llm.checks import EndpointInput, check
from backend.llm.database_ledger import DatabaseLedger
from backend.llm.endpoint import Endpoint, SchemaMode
from backend.llm.keys import KeyStore, fence_key
from backend.llm.retry import RetryPolicy
from backend.settings import Settings

if TYPE_CHECKING:
    from backend.llm.client import OpenAIClient
    from backend.llm.probe import Probe

DEFAULT = "default"


@dataclass(frozen=True)
class EndpointInfo:
    """An endpoint as a page may show it: whether it has a key, never the key."""

    name: str
    base_url: str
    model: str
    price_in: float
    price_out: float
    concurrency: int
    timeout_s: float
    supports_schema: SchemaMode
    has_key: bool
    read_only: bool = False


class EndpointService:
    """Endpoints, their keys, and clients that share one limiter per endpoint and one ledger."""

    def __init__(self, database: Database, home: Path, settings: Settings) -> None:
        self._database = database
        self._home = home
        self._settings = settings
        self._keys = KeyStore(home)
        self.ledger = DatabaseLedger(database)

    def endpoints(self) -> list[EndpointInfo]:
        """Every endpoint, the environment's first."""
        with self._database.read() as session:
            rows = session.scalars(select(EndpointRow).order_by(EndpointRow.name)).all()
            stored = [_endpoint(row, SecretStr("")) for row in rows]
        with_key = self._keys.names()
        return self._default_info() + [_info(endpoint, endpoint.name in with_key) for endpoint in stored]

    def get(self, name: str) -> Endpoint:
        """The endpoint with its key. Raises NotFound."""
        default = self._default()
        if name == DEFAULT and default is not None:
            return default
        with self._database.read() as session:
            row = session.scalar(select(EndpointRow).where(EndpointRow.name == name))
            if row is None:
                raise _unknown(name)
            return _endpoint(row, self._keys.get(name))

    def save(self, entered: EndpointInput) -> EndpointInfo:
        """Add or change an endpoint. A key of None keeps the stored one. Raises UserError."""
        good = check(entered)
        if good.name == DEFAULT:
            raise UserError(
                'The name "default" belongs to the endpoint of the environment; choose another.',
                "名称“default”保留给环境变量配置的端点，请换一个名称。",
            )
        with self._database.write() as session:
            row = session.scalar(select(EndpointRow).where(EndpointRow.name == good.name))
            if row is not None and good.api_key is None:
                self._refuse_moved_key(row, good.base_url)
            row = row or EndpointRow(name=good.name)
            row.base_url, row.model = good.base_url, good.model
            row.price_in, row.price_out = good.price_in, good.price_out
            row.concurrency, row.timeout_s = good.concurrency, good.timeout_s
            row.supports_schema = good.supports_schema.value
            session.add(row)
        if good.api_key is not None:
            self._keys.put(good.name, good.api_key)
        return next(info for info in self.endpoints() if info.name == good.name)

    def delete(self, name: str) -> None:
        """Remove an endpoint and its key; the calls it answered stay in the ledger. Raises NotFound."""
        with self._database.write() as session:
            gone = session.execute(
                delete(EndpointRow).where(EndpointRow.name == name).returning(EndpointRow.id)
            )
            if gone.first() is None:
                raise _unknown(name)
        self._keys.put(name, SecretStr(""))

    async def probe(self, name: str) -> "Probe":
        """Ask the endpoint for one word; says in one sentence what works or what is wrong."""
        from backend.llm.probe import probe

        return await probe(self.get(name))

    def client(
        self,
        endpoint: str | Endpoint,
        scope: str,
        *,
        budget: Budget | None = None,
        policy: RetryPolicy | None = None,
    ) -> "OpenAIClient":
        """A client for one run; close it. Raises NotFound, or LLMError for a key that cannot be one."""
        from backend.llm.client import OpenAIClient  # the SDK is a slow import, kept off every start

        found = self.get(endpoint) if isinstance(endpoint, str) else endpoint
        return OpenAIClient(found, scope=scope, ledger=self.ledger, budget=budget, policy=policy)

    def fence_key(self) -> bytes:
        """The key of this house that fences are derived with."""
        return fence_key(self._home)

    def close(self) -> None:
        """Store what the ledger still holds."""
        self.ledger.close()

    def _refuse_moved_key(self, row: EndpointRow, base_url: str) -> None:
        # Else whoever may edit an endpoint could have its key sent to a server of their own.
        moved = urlsplit(row.base_url)[:2] != urlsplit(base_url)[:2]
        if moved and row.name in self._keys.names():
            raise UserError(
                "The endpoint now points to another server; enter its key again.",
                "端点指向了另一台服务器，请重新填写密钥。",
            )

    def _default_info(self) -> list[EndpointInfo]:
        settings = self._settings
        try:
            default = self._default()
        except UserError:  # the others stay usable; `get` says what is wrong with this one
            default = Endpoint(DEFAULT, "", settings.llm_model)
        has_key = bool(settings.llm_api_key.get_secret_value())
        return [_info(default, has_key, read_only=True)] if default else []

    def _default(self) -> Endpoint | None:
        settings = self._settings
        if not settings.llm_base_url:
            return None
        good = check(EndpointInput(DEFAULT, settings.llm_base_url, settings.llm_model, settings.llm_api_key))
        return Endpoint(DEFAULT, good.base_url, good.model, settings.llm_api_key)


def _endpoint(row: EndpointRow, key: SecretStr) -> Endpoint:
    return Endpoint(
        name=row.name,
        base_url=row.base_url,
        model=row.model,
        api_key=key,
        price_in=row.price_in,
        price_out=row.price_out,
        concurrency=row.concurrency,
        timeout_s=row.timeout_s,
        supports_schema=SchemaMode(row.supports_schema),
    )


def _info(endpoint: Endpoint, has_key: bool, *, read_only: bool = False) -> EndpointInfo:
    return EndpointInfo(
        name=endpoint.name,
        base_url=endpoint.base_url,
        model=endpoint.model,
        price_in=endpoint.price_in,
        price_out=endpoint.price_out,
        concurrency=endpoint.concurrency,
        timeout_s=endpoint.timeout_s,
        supports_schema=endpoint.supports_schema,
        has_key=has_key,
        read_only=read_only,
    )


def _unknown(name: str) -> NotFound:
    return NotFound(
        f'There is no endpoint "{name}"; add it on the page "Judges" or set ZHUFU_LLM_BASE_URL.',
        f"没有名为“{name}”的端点，请在“评审”页添加，或设置 ZHUFU_LLM_BASE_URL。",
    )
