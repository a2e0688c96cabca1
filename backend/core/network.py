"""Which addresses the application listens on and answers to, and what it refuses to do without a password."""

import ipaddress
import re
from contextlib import suppress

from backend.core.errors import UserError
from backend.core.settings import Settings

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
# Only what visitors are invited to: every other page shows who annotated what, or spends money at an endpoint.
OPENABLE_PAGES = ("annotate", "write")
# In characters, as NIST SP 800-63B asks of a memorised secret; guesses are slowed down besides.
SHORTEST_PASSWORD = 8
_HOST_PATTERN = re.compile(r"\*|(\*\.)?[a-z0-9]([a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\]")


def check_exposure(settings: Settings) -> None:
    """Refuse a configuration that would leave the application open to a network.

    Raises UserError naming the variable to correct.
    """
    password = settings.password.get_secret_value()
    if not password and not is_loopback(settings.host):
        raise UserError(
            f"ZHUFU_HOST={settings.host} lets other machines in, so ZHUFU_PASSWORD must be set too; "
            "or leave ZHUFU_HOST at 127.0.0.1.",
            f"ZHUFU_HOST={settings.host} 会让其他机器也能访问，必须同时设置 ZHUFU_PASSWORD；"
            "否则请保持 ZHUFU_HOST 为 127.0.0.1。",
        )
    if password and len(password) < SHORTEST_PASSWORD:
        raise UserError(
            f"ZHUFU_PASSWORD is too short; use at least {SHORTEST_PASSWORD} characters.",
            f"ZHUFU_PASSWORD 太短，至少要 {SHORTEST_PASSWORD} 个字符。",
        )
    if not password and "*" in answered_hosts(settings):
        # Any name would do then, also one that a foreign page has bound to this machine (DNS rebinding).
        raise UserError(
            "ZHUFU_ALLOWED_HOSTS=* needs ZHUFU_PASSWORD; set it, or list the names people use.",
            "ZHUFU_ALLOWED_HOSTS=* 需要同时设置 ZHUFU_PASSWORD；也可以改为列出实际使用的名称。",
        )
    parse_open_pages(settings)


def is_loopback(host_name: str) -> bool:
    """Whether only this machine can reach a server that listens on `host_name` (a name or an IP address)."""
    if host_name.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host_name.strip("[]")).is_loopback
    except ValueError:
        return False


def answered_hosts(settings: Settings) -> tuple[str, ...]:
    """The host names, without port, that a request may be addressed to; `*` stands for any.

    Always this machine's own names and the address listened on; more from ZHUFU_ALLOWED_HOSTS.
    Raises UserError for a name that no browser sends.
    """
    configured_names = [
        allowed_name.strip().lower() for allowed_name in settings.allowed_hosts.split(",") if allowed_name.strip()
    ]
    host_names = [*LOOPBACK_NAMES, *map(_as_browser_sends, configured_names)]
    if settings.host and not _is_wildcard(settings.host):
        host_names.append(_as_browser_sends(settings.host.lower()))
    return tuple(dict.fromkeys(host_names))


def parse_open_pages(settings: Settings) -> frozenset[str]:
    """The pages that may be used without the password. Raises UserError for one that cannot be opened."""
    page_names = frozenset(
        page_name.strip().lower() for page_name in settings.open_pages.split(",") if page_name.strip()
    )
    if unknown_pages := sorted(page_names - set(OPENABLE_PAGES)):
        raise UserError(
            f"ZHUFU_OPEN_PAGES cannot hold “{unknown_pages[0]}”; it takes {', '.join(OPENABLE_PAGES)} only.",
            f"ZHUFU_OPEN_PAGES 中的“{unknown_pages[0]}”不能开放，只能是 {'、'.join(OPENABLE_PAGES)}。",
        )
    return page_names


def _is_wildcard(host_name: str) -> bool:
    return host_name in ("0.0.0.0", "::", "[::]")


def _as_browser_sends(host: str) -> str:
    # A browser sends an IPv6 address in brackets; people write it without.
    with suppress(ValueError):
        host = f"[{ipaddress.IPv6Address(host.strip('[]'))}]"
    if not _HOST_PATTERN.fullmatch(host):
        raise UserError(
            f"ZHUFU_ALLOWED_HOSTS: “{host}” is not a host name; write names without http:// and without a "
            "port, by commas, such as zhufu.example.org,192.168.1.5.",
            f"ZHUFU_ALLOWED_HOSTS 中的“{host}”不是主机名；请写不带 http:// 和端口的名称，用逗号分隔，"
            "例如 zhufu.example.org,192.168.1.5。",
        )
    return host
