"""What a person may enter as an endpoint, and the sentence for each thing that is wrong."""

import math
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from pydantic import SecretStr

from backend.errors import UserError
from backend.llm.endpoint import SchemaMode

_LONGEST_NAME = 120
RESERVED_PREFIX = "artifact:"
"""How trained models are named wherever an endpoint may be chosen."""
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
    if not key_text.isascii() or (key_text and not key_text.isprintable()) or " " in key_text:
        raise UserError(
            "The key holds spaces or characters that no key has; copy it again.",
            "密钥中含有空格或无效字符，请重新复制。",
        )


def _is_between(number: float, minimum: float, maximum: float) -> bool:
    return math.isfinite(number) and minimum <= number <= maximum
