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
from backend.llm.checks import EndpointInput, checked_endpoint
from backend.llm.database_ledger import DatabaseLedger
from backend.llm.endpoint import Endpoint, SchemaMode
from backend.llm.keys import KeyStore, load_or_create_fence_key
from backend.llm.retry import RetryPolicy
from backend.settings import Settings

if TYPE_CHECKING:
    from backend.llm.client import OpenAIClient
    from backend.llm.probe import ProbeResult

DEFAULT_NAME = "default"


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
        self._key_store = KeyStore(home)
        self.ledger = DatabaseLedger(database)

    def endpoints(self) -> list[EndpointInfo]:
        """Every endpoint, the environment's first."""
        with self._database.read() as session:
            endpoint_rows = session.scalars(select(EndpointRow).order_by(EndpointRow.name)).all()
            stored_endpoints = [_endpoint_from_row(endpoint_row, SecretStr("")) for endpoint_row in endpoint_rows]
        names_with_key = self._key_store.names_with_key()
        return self._default_infos() + [
            _endpoint_info(endpoint, endpoint.name in names_with_key) for endpoint in stored_endpoints
        ]

    def get(self, endpoint_name: str) -> Endpoint:
        """The endpoint with its key. Raises NotFound."""
        default_endpoint = self._default_endpoint()
        if endpoint_name == DEFAULT_NAME and default_endpoint is not None:
            return default_endpoint
        with self._database.read() as session:
            endpoint_row = session.scalar(select(EndpointRow).where(EndpointRow.name == endpoint_name))
            if endpoint_row is None:
                raise _unknown_endpoint_error(endpoint_name)
            return _endpoint_from_row(endpoint_row, self._key_store.load_key(endpoint_name))

    def save(self, submitted: EndpointInput) -> EndpointInfo:
        """Add or change an endpoint. A key of None keeps the stored one. Raises UserError."""
        checked_input = checked_endpoint(submitted)
        if checked_input.name == DEFAULT_NAME:
            raise UserError(
                'The name "default" belongs to the endpoint of the environment; choose another.',
                "名称“default”保留给环境变量配置的端点，请换一个名称。",
            )
        with self._database.write() as session:
            endpoint_row = session.scalar(select(EndpointRow).where(EndpointRow.name == checked_input.name))
            if endpoint_row is not None and checked_input.api_key is None:
                self._refuse_moved_key(endpoint_row, checked_input.base_url)
            endpoint_row = endpoint_row or EndpointRow(name=checked_input.name)
            endpoint_row.base_url, endpoint_row.model = checked_input.base_url, checked_input.model
            endpoint_row.price_in, endpoint_row.price_out = checked_input.price_in, checked_input.price_out
            endpoint_row.concurrency, endpoint_row.timeout_s = (
                checked_input.concurrency,
                checked_input.timeout_s,
            )
            endpoint_row.supports_schema = checked_input.supports_schema.value
            session.add(endpoint_row)
        if checked_input.api_key is not None:
            self._key_store.store_key(checked_input.name, checked_input.api_key)
        return next(endpoint_info for endpoint_info in self.endpoints() if endpoint_info.name == checked_input.name)

    def delete(self, endpoint_name: str) -> None:
        """Remove an endpoint and its key; the calls it answered stay in the ledger. Raises NotFound."""
        with self._database.write() as session:
            deleted_rows = session.execute(
                delete(EndpointRow).where(EndpointRow.name == endpoint_name).returning(EndpointRow.id)
            )
            if deleted_rows.first() is None:
                raise _unknown_endpoint_error(endpoint_name)
        self._key_store.store_key(endpoint_name, SecretStr(""))

    async def probe(self, endpoint_name: str) -> "ProbeResult":
        """Ask the endpoint for one word; says in one sentence what works or what is wrong."""
        from backend.llm.probe import probe_endpoint

        return await probe_endpoint(self.get(endpoint_name))

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

        chosen_endpoint = self.get(endpoint) if isinstance(endpoint, str) else endpoint
        return OpenAIClient(chosen_endpoint, scope=scope, ledger=self.ledger, budget=budget, policy=policy)

    def fence_key(self) -> bytes:
        """The key of this house that fences are derived with."""
        return load_or_create_fence_key(self._home)

    def close(self) -> None:
        """Store what the ledger still holds."""
        self.ledger.close()

    def _refuse_moved_key(self, endpoint_row: EndpointRow, base_url: str) -> None:
        # Else whoever may edit an endpoint could have its key sent to a server of their own.
        server_changed = urlsplit(endpoint_row.base_url)[:2] != urlsplit(base_url)[:2]
        if server_changed and endpoint_row.name in self._key_store.names_with_key():
            raise UserError(
                "The endpoint now points to another server; enter its key again.",
                "端点指向了另一台服务器，请重新填写密钥。",
            )

    def _default_infos(self) -> list[EndpointInfo]:
        settings = self._settings
        try:
            default_endpoint = self._default_endpoint()
        except UserError:  # the others stay usable; `get` says what is wrong with this one
            default_endpoint = Endpoint(DEFAULT_NAME, "", settings.llm_model)
        has_key = bool(settings.llm_api_key.get_secret_value())
        return [_endpoint_info(default_endpoint, has_key, read_only=True)] if default_endpoint else []

    def _default_endpoint(self) -> Endpoint | None:
        settings = self._settings
        if not settings.llm_base_url:
            return None
        checked_input = checked_endpoint(
            EndpointInput(DEFAULT_NAME, settings.llm_base_url, settings.llm_model, settings.llm_api_key)
        )
        return Endpoint(DEFAULT_NAME, checked_input.base_url, checked_input.model, settings.llm_api_key)


def _endpoint_from_row(endpoint_row: EndpointRow, api_key: SecretStr) -> Endpoint:
    return Endpoint(
        name=endpoint_row.name,
        base_url=endpoint_row.base_url,
        model=endpoint_row.model,
        api_key=api_key,
        price_in=endpoint_row.price_in,
        price_out=endpoint_row.price_out,
        concurrency=endpoint_row.concurrency,
        timeout_s=endpoint_row.timeout_s,
        supports_schema=SchemaMode(endpoint_row.supports_schema),
    )


def _endpoint_info(endpoint: Endpoint, has_key: bool, *, read_only: bool = False) -> EndpointInfo:
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


def _unknown_endpoint_error(endpoint_name: str) -> NotFound:
    return NotFound(
        f'There is no endpoint "{endpoint_name}"; add it on the page "Judges" or set ZHUFU_LLM_BASE_URL.',
        f"没有名为“{endpoint_name}”的端点，请在“评审”页添加，或设置 ZHUFU_LLM_BASE_URL。",
    )
