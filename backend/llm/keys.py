"""Secrets of the house: endpoint keys and the fence key, in files that only their owner reads."""

import json
import os
import secrets
import tempfile
import threading
from pathlib import Path

from pydantic import SecretStr

from backend.errors import UserError
from backend.files import disk_fault, narrow

_LOCK = threading.Lock()
SHORTEST = 32
"""Bytes of a key that cannot be guessed."""


class KeyStore:
    """HOME/endpoint_keys.json, mode 0600, replaced as a whole by every change."""

    def __init__(self, home: Path) -> None:
        self._path = home / "endpoint_keys.json"

    def get(self, name: str) -> SecretStr:
        """The endpoint's key, empty where it has none. Raises UserError for a file nobody can read."""
        return SecretStr(self._read().get(name, ""))

    def names(self) -> frozenset[str]:
        """Endpoints that have a key."""
        return frozenset(name for name, key in self._read().items() if key)

    def put(self, name: str, key: SecretStr) -> None:
        """Store the endpoint's key; an empty one removes it."""
        with _LOCK:
            keys = self._read()
            keys.pop(name, None)
            if key.get_secret_value():
                keys[name] = key.get_secret_value()
            write_secret(self._path, json.dumps(keys, ensure_ascii=False).encode())

    def _read(self) -> dict[str, str]:
        trouble = "not an object"
        try:
            narrow(self._path)
            document = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return {}
        except (ValueError, OSError) as error:
            document, trouble = None, type(error).__name__
        # Raised outside the handler: a JSON error carries the file's text, and that holds keys.
        if not isinstance(document, dict):
            raise _unreadable(self._path, trouble)
        return {str(name): str(key) for name, key in document.items()}


def fence_key(home: Path) -> bytes:
    """The key that nonces are derived with, made at first use. Give it to `prompts.compose`."""
    path = home / "fence_key"
    with _LOCK:
        try:
            narrow(path)
            known = path.read_bytes()
        except FileNotFoundError:
            made = secrets.token_hex(SHORTEST).encode()
            write_secret(path, made)
            return made
        except OSError as error:
            raise _unusable(path, error.strerror or str(error)) from error
    if len(known) < SHORTEST:
        raise _unusable(path, f"shorter than {SHORTEST} bytes")
    return known


def write_secret(path: Path, data: bytes) -> None:
    """Write the file so that it is never half there and never readable by others.

    Raises UserError where the disk is full or the folder cannot be written.
    """
    try:
        _replace(path, data)
    except OSError as error:
        fault = disk_fault(error)
        if fault is None:
            raise
        raise fault from error


def _replace(path: Path, data: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # made with mode 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _unusable(path: Path, why: str) -> UserError:
    return UserError(
        f"The key at {path} is not usable ({why}); mend its rights, or remove it and a new one is made.",
        f"密钥文件 {path} 不可用（{why}），请修正权限，或删除它让程序重新生成。",
    )


def _unreadable(path: Path, why: str) -> UserError:
    return UserError(
        f"{path} cannot be read ({why}); remove it and enter the keys again.",
        f"无法读取 {path}（{why}），请删除该文件并重新填写密钥。",
    )
