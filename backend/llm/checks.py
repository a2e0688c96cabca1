"""What a person may enter as an endpoint, and the sentence for each thing that is wrong."""

import math
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from pydantic import SecretStr

from backend.errors import UserError
from backend.llm.endpoint import SchemaMode

_NAME = 120
RESERVED = "artifact:"
"""How trained models are named wherever an endpoint may be chosen."""
_PATHS = ("/chat/completions", "/completions", "/models")


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


def check(entered: EndpointInput) -> EndpointInput:
    """The input in its stored form. Raises UserError with one sentence about the first thing wrong."""
    name, model = entered.name.strip(), entered.model.strip()
    if not 0 < len(name) <= _NAME or not name.isprintable():
        raise UserError(
            "Give the endpoint a name of 1 to 120 characters.", "请填写端点名称（1 到 120 个字符）。"
        )
    if name.casefold().startswith(RESERVED):
        raise UserError(
            f"“{RESERVED}…” names trained models; give the endpoint another name.",
            f"“{RESERVED}…”是训练出来的模型的名字，请给端点换一个名称。",
        )
    if not 0 < len(model) <= 200 or not model.isprintable():
        raise UserError("Give the name of the model.", "请填写模型名称。")
    _check_numbers(entered)
    _check_key(entered.api_key)
    url = _checked_url(entered.base_url.strip())
    return replace(entered, name=name, model=model, base_url=url)


def _checked_url(url: str) -> str:
    wrong = UserError(
        "The base URL must look like https://host/v1.",
        "基础地址应形如 https://主机/v1。",
    )
    try:
        parts = urlsplit(url)
        port_is_fine = parts.port is None or parts.port > 0
    except ValueError:
        raise wrong from None
    if (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or not port_is_fine
        or " " in url
        or len(url) > 500
    ):
        raise wrong
    if parts.username or parts.password or parts.query or parts.fragment:
        # The address is stored and shown; a secret in it would be, too.
        raise UserError(
            "The base URL must not hold a user name, a key or a query; enter the key in its own field.",
            "基础地址不能包含用户名、密钥或查询参数，密钥请填写在单独的栏目中。",
        )
    path = parts.path.rstrip("/")
    for ending in _PATHS:
        path = path.removesuffix(ending)
    return f"{parts.scheme}://{parts.netloc}{path}"


def _check_numbers(entered: EndpointInput) -> None:
    if not isinstance(entered.concurrency, int) or not 1 <= entered.concurrency <= 1024:
        raise UserError("The concurrency must be between 1 and 1024.", "并发数必须在 1 到 1024 之间。")
    if not _between(entered.timeout_s, 1, 3600):
        raise UserError("The timeout must be between 1 and 3600 seconds.", "超时必须在 1 到 3600 秒之间。")
    for price in (entered.price_in, entered.price_out):
        if not _between(price, 0, 1e6):
            raise UserError(
                "Prices are per million tokens and must be 0 or more.",
                "价格按每百万 token 计，必须大于或等于 0。",
            )


def _check_key(key: SecretStr | None) -> None:
    value = key.get_secret_value() if key else ""
    if not value.isascii() or (value and not value.isprintable()) or " " in value:
        raise UserError(
            "The key holds spaces or characters that no key has; copy it again.",
            "密钥中含有空格或无效字符，请重新复制。",
        )


def _between(value: float, low: float, high: float) -> bool:
    return math.isfinite(value) and low <= value <= high
