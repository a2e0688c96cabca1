"""Endpoints that people entered or the environment gives: checked, stored, tested, and clients for them."""

import math
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pydantic import SecretStr
from sqlalchemy import delete, select

from backend.core.errors import Message, NotFound, UserError
from backend.core.settings import Settings
from backend.db.engine import Database
from backend.db.llm_tables import EndpointRow
from backend.llm.budget import Budget
from backend.llm.database_ledger import DatabaseLedger
from backend.llm.errors import LLMError, LLMErrorKind
from backend.llm.keys import KeyStore, load_or_create_fence_key
from backend.llm.ledger import Ledger
from backend.llm.limiter import RetryPolicy
from backend.llm.messages import ChatMessage, Endpoint, SchemaMode, storable_text

if TYPE_CHECKING:
    from backend.llm.client import OpenAIClient

_LONGEST_NAME = 120
# How trained models are named wherever an endpoint may be chosen.
RESERVED_PREFIX = "artifact:"
# The whole addresses that people paste. The longest first, else "/completions" would leave a "/chat".
_API_PATHS = ("/chat/completions", "/completions", "/models")


@dataclass(frozen=True)
class EndpointInput:
    """An endpoint as entered. `api_key` None keeps the stored key, an empty one removes it."""

    name: str
    base_url: str
    model: str
    api_key: SecretStr | None = field(default=None, repr=False)
    price_in: float = 0.0
    price_out: float = 0.0
    concurrency: int = 16
    timeout_s: float = 60.0
    supports_schema: SchemaMode = SchemaMode.AUTO


def checked_endpoint(submitted: EndpointInput) -> EndpointInput:
    """The input in its stored form. Raises UserError with one sentence about the first thing wrong."""
    endpoint_name, model_name = submitted.name.strip(), submitted.model.strip()
    if not 0 < len(endpoint_name) <= _LONGEST_NAME or not endpoint_name.isprintable():
        raise UserError("Give the endpoint a name of 1 to 120 characters.", "请填写端点名称（1 到 120 个字符）。")
    # In any spelling, so that "Artifact:x" cannot be mistaken for a trained model.
    if endpoint_name.casefold().startswith(RESERVED_PREFIX):
        raise UserError(
            f"“{RESERVED_PREFIX}…” names trained models; give the endpoint another name.",
            f"“{RESERVED_PREFIX}…”是训练出来的模型的名字，请给端点换一个名称。",
        )
    if not 0 < len(model_name) <= 200 or not model_name.isprintable():
        raise UserError("Give the name of the model.", "请填写模型名称。")
    _check_numbers(submitted)
    _check_api_key(submitted.api_key)
    base_url = _checked_base_url(submitted.base_url.strip())
    return replace(submitted, name=endpoint_name, model=model_name, base_url=base_url)


def _checked_base_url(entered_url: str) -> str:
    malformed_error = UserError(
        "The base URL must look like https://host/v1.",
        "基础地址应形如 https://主机/v1。",
    )
    try:
        url_parts = urlsplit(entered_url)
        port_is_fine = url_parts.port is None or url_parts.port > 0
    except ValueError:
        raise malformed_error from None
    if (
        url_parts.scheme not in ("http", "https")
        or not url_parts.hostname
        or not port_is_fine
        or " " in entered_url
        or len(entered_url) > 500
    ):
        raise malformed_error
    if url_parts.username or url_parts.password or url_parts.query or url_parts.fragment:
        # The address is stored and shown; a secret in it would be, too.
        raise UserError(
            "The base URL must not hold a user name, a key or a query; enter the key in its own field.",
            "基础地址不能包含用户名、密钥或查询参数，密钥请填写在单独的栏目中。",
        )
    url_path = url_parts.path.rstrip("/")
    for api_path in _API_PATHS:
        url_path = url_path.removesuffix(api_path)
    return f"{url_parts.scheme}://{url_parts.netloc}{url_path}"


def _check_numbers(submitted: EndpointInput) -> None:
    if not isinstance(submitted.concurrency, int) or not 1 <= submitted.concurrency <= 1024:
        raise UserError("The concurrency must be between 1 and 1024.", "并发数必须在 1 到 1024 之间。")
    if not _is_between(submitted.timeout_s, 1, 3600):
        raise UserError("The timeout must be between 1 and 3600 seconds.", "超时必须在 1 到 3600 秒之间。")
    for token_price in (submitted.price_in, submitted.price_out):
        if not _is_between(token_price, 0, 1e6):
            raise UserError(
                "Prices are per million tokens and must be 0 or more.",
                "价格按每百万 token 计，必须大于或等于 0。",
            )


def _check_api_key(api_key: SecretStr | None) -> None:
    key_text = api_key.get_secret_value() if api_key else ""
    # An HTTP header takes no other characters; the request would fail only in the middle of a run.
    if not key_text.isascii() or (key_text and not key_text.isprintable()) or " " in key_text:
        raise UserError(
            "The key holds spaces or characters that no key has; copy it again.",
            "密钥中含有空格或无效字符，请重新复制。",
        )


def _is_between(number: float, minimum: float, maximum: float) -> bool:
    return math.isfinite(number) and minimum <= number <= maximum


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

    def __init__(self, database: Database, home: Path, settings: Settings, process_count: int = 1) -> None:
        """`process_count` processes like this one ask at a time: each takes its share of an endpoint's concurrency."""
        self._process_count = process_count
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
        endpoint = self._find_endpoint(endpoint_name)
        return replace(endpoint, concurrency=max(1, endpoint.concurrency // self._process_count))

    def _find_endpoint(self, endpoint_name: str) -> Endpoint:
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
        # After the transaction: a key without an endpoint would wait for whoever takes the name next.
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
        # After the row is gone: if this fails, a key lies unused; the other way round an endpoint would have
        # lost its key.
        self._key_store.store_key(endpoint_name, SecretStr(""))

    async def probe(self, endpoint_name: str) -> "ProbeResult":
        """Ask the endpoint for one word; says in one sentence what works or what is wrong."""
        return await probe_endpoint(self.get(endpoint_name))

    def client(
        self,
        endpoint: str | Endpoint,
        scope: str,
        *,
        budget: Budget | None = None,
        policy: RetryPolicy | None = None,
        ledger: Ledger | None = None,
    ) -> "OpenAIClient":
        """A client for one run, with the ledger of all or another one; close it.

        Raises NotFound, or LLMError for a key that cannot be one.
        """
        from backend.llm.client import OpenAIClient  # the SDK is a slow import, kept off every start

        chosen_endpoint = self.get(endpoint) if isinstance(endpoint, str) else endpoint
        used_ledger = self.ledger if ledger is None else ledger
        return OpenAIClient(chosen_endpoint, scope=scope, ledger=used_ledger, budget=budget, policy=policy)

    def fence_key(self) -> bytes:
        """The key of this home folder that fences around outside text are derived with."""
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


# A server decides how many names it offers and how long they are; a sentence for people must stay one.
_SHOWN_MODELS = 8
_SHOWN_NAME_LENGTH = 80


@dataclass(frozen=True)
class ProbeResult:
    """Whether the endpoint works, and the sentence about it."""

    ok: bool
    message: Message


async def probe_endpoint(endpoint: Endpoint, timeout_s: float = 15.0) -> ProbeResult:
    """Ask for one word, once. Never raises for anything the server does."""
    from backend.llm.client import OpenAIClient  # the SDK is a slow import, kept off every start

    limited_endpoint = replace(endpoint, timeout_s=min(timeout_s, endpoint.timeout_s))
    start_time = time.perf_counter()
    try:
        # One attempt: whoever presses "test" wants to see the fault, not its retries.
        async with OpenAIClient(limited_endpoint, policy=RetryPolicy(attempts=1)) as client:
            await client.complete([ChatMessage("user", "请只回复：好")], max_tokens=16)
    except LLMError as error:
        if error.kind is LLMErrorKind.EMPTY:  # a thinking model that used up its few tokens does answer
            return _success_result(endpoint, time.perf_counter() - start_time)
        return ProbeResult(False, await _failure_message(limited_endpoint, error))
    return _success_result(endpoint, time.perf_counter() - start_time)


def _success_result(endpoint: Endpoint, elapsed_s: float) -> ProbeResult:
    return ProbeResult(
        True,
        Message(
            f"{endpoint.model} at {endpoint.base_url} answers, in {elapsed_s:.2f} s.",
            f"{endpoint.base_url} 的 {endpoint.model} 可用，用时 {elapsed_s:.2f} 秒。",
        ),
    )


async def _failure_message(endpoint: Endpoint, error: LLMError) -> Message:
    if error.kind is not LLMErrorKind.UNKNOWN_MODEL:
        return error.message
    model_names = await _offered_models(endpoint)
    if not model_names:
        return error.message
    shown_names = ", ".join(
        storable_text(" ".join(model_name.split())[:_SHOWN_NAME_LENGTH]) for model_name in model_names[:_SHOWN_MODELS]
    ) + (" …" if len(model_names) > _SHOWN_MODELS else "")
    return Message(
        f'{endpoint.base_url} does not know the model "{endpoint.model}"; it offers: {shown_names}.',
        f"{endpoint.base_url} 没有模型“{endpoint.model}”，可用的有：{shown_names}。",
    )


async def _offered_models(endpoint: Endpoint) -> list[str]:
    from backend.llm.transport import Transport

    transport = Transport(endpoint)
    try:
        return await transport.list_models(endpoint.timeout_s)
    except LLMError:
        return []
    finally:
        await transport.close()
