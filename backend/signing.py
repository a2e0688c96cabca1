"""Signed values for cookies, with a secret that is made once and kept in the home folder."""

import hashlib
import os
import secrets
from pathlib import Path
from typing import Any

from itsdangerous import BadSignature, URLSafeSerializer

from backend.errors import UserError
from backend.files import narrow

SHORTEST = 32
"""Bytes below which a secret can be guessed."""


class Signer:
    """Signs small values for one purpose; a value signed for another purpose is not accepted."""

    def __init__(self, home: Path, purpose: str) -> None:
        self._serializer = URLSafeSerializer(
            secret_of(home), salt=purpose, signer_kwargs={"digest_method": hashlib.sha256}
        )

    def sign(self, value: Any) -> str:
        """The value as a URL-safe text with its signature."""
        return str(self._serializer.dumps(value))

    def read(self, signed: str) -> Any:
        """The value, or None where the signature does not fit."""
        try:
            return self._serializer.loads(signed)
        except BadSignature:
            return None


def secret_of(home: Path) -> str:
    """The secret at HOME/secret, made at first use; two processes that start at once agree on one."""
    path = home / "secret"
    try:
        if not path.exists():
            _create(path)
        narrow(path)
        return _checked(path, path.read_bytes())
    except OSError as error:
        raise UserError(
            f"The secret at {path} cannot be read or made ({error.strerror}); check the folder's rights.",
            f"无法读取或创建密钥文件 {path}（{error.strerror}），请检查文件夹权限。",
        ) from error


def _checked(path: Path, secret: bytes) -> str:
    """The secret as text. Raises UserError for one that is empty, short or no text."""
    try:
        text = secret.decode("ascii").strip()
    except UnicodeDecodeError:
        text = ""
    if len(text) < SHORTEST or not text.isprintable():
        raise UserError(
            f"The secret at {path} is not usable: it must be at least {SHORTEST} ASCII characters. Remove "
            "the file and a new one is made; everybody then enters their name anew.",
            f"密钥文件 {path} 不可用：应为至少 {SHORTEST} 个 ASCII 字符。请删除该文件，程序会重新生成；"
            "之后每个人需要重新填写名字。",
        )
    return text


def _create(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".secret-{os.getpid()}-{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(48))
            file.flush()
            os.fsync(file.fileno())
        # A link appears whole or not at all, and fails where another process was first.
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
