"""Signed values for cookies, with a secret that is made once and kept in the home folder."""

import hashlib
import os
import secrets
from pathlib import Path
from typing import Any

from itsdangerous import BadSignature, URLSafeSerializer

from backend.core.errors import UserError
from backend.core.files import restrict_to_owner

# Bytes below which a secret can be guessed: as many as the SHA-256 that signs with it (RFC 2104, section 3).
MIN_BYTES = 32


class Signer:
    """Signs small values for one purpose; a value signed for another purpose is not accepted."""

    def __init__(self, home_folder: Path, signing_purpose: str) -> None:
        self._serializer = URLSafeSerializer(
            load_secret(home_folder), salt=signing_purpose, signer_kwargs={"digest_method": hashlib.sha256}
        )

    def sign(self, plain_value: Any) -> str:
        """The value as a URL-safe text with its signature."""
        return str(self._serializer.dumps(plain_value))

    def read(self, signed_text: str) -> Any:
        """The value, or None where the signature does not fit."""
        try:
            return self._serializer.loads(signed_text)
        except BadSignature:
            return None


def load_secret(home_folder: Path) -> str:
    """The secret at HOME/secret, made at first use; two processes that start at once agree on one."""
    path = home_folder / "secret"
    try:
        if not path.exists():
            _create_secret(path)
        restrict_to_owner(path)
        return _require_usable(path, path.read_bytes())
    except OSError as error:
        raise UserError(
            f"The secret at {path} cannot be read or made ({error.strerror}); check the folder's rights.",
            f"无法读取或创建密钥文件 {path}（{error.strerror}），请检查文件夹权限。",
        ) from error


def _require_usable(path: Path, secret_bytes: bytes) -> str:
    """The secret as text. Raises UserError for one that is empty, short or no text."""
    try:
        secret_text = secret_bytes.decode("ascii").strip()
    except UnicodeDecodeError:
        secret_text = ""
    if len(secret_text) < MIN_BYTES or not secret_text.isprintable():
        raise UserError(
            f"The secret at {path} is not usable: it must be at least {MIN_BYTES} ASCII characters. Remove "
            "the file and a new one is made; everybody then enters their name anew.",
            f"密钥文件 {path} 不可用：应为至少 {MIN_BYTES} 个 ASCII 字符。请删除该文件，程序会重新生成；"
            "之后每个人需要重新填写名字。",
        )
    return secret_text


def _create_secret(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary_file = path.with_name(f".secret-{os.getpid()}-{secrets.token_hex(4)}")
    file_handle = os.open(temporary_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(file_handle, "w", encoding="ascii") as text_file:
            text_file.write(secrets.token_urlsafe(48))
            text_file.flush()
            os.fsync(text_file.fileno())
        # A link appears whole or not at all, and fails where another process was first.
        os.link(temporary_file, path)
    except FileExistsError:
        pass
    finally:
        temporary_file.unlink()
