"""Secrets of the installation: endpoint keys and the fence key, in files that only their owner reads."""

import json
import os
import secrets
import tempfile
import threading
from pathlib import Path

from pydantic import SecretStr

from backend.core.errors import UserError
from backend.core.files import restrict_to_owner, translate_disk_fault

# Two pages that store a key at once would otherwise each write the file as they read it, and one key would be
# gone.
_KEYS_LOCK = threading.Lock()
# Bytes of a key that cannot be guessed.
SHORTEST_KEY = 32


class KeyStore:
    """HOME/endpoint_keys.json, mode 0600, replaced as a whole by every change."""

    def __init__(self, home: Path) -> None:
        self._file_path = home / "endpoint_keys.json"

    def load_key(self, endpoint_name: str) -> SecretStr:
        """The endpoint's key, empty where it has none. Raises UserError for a file nobody can read."""
        return SecretStr(self._read_keys().get(endpoint_name, ""))

    def names_with_key(self) -> frozenset[str]:
        """Endpoints that have a key."""
        return frozenset(endpoint_name for endpoint_name, api_key in self._read_keys().items() if api_key)

    def store_key(self, endpoint_name: str, api_key: SecretStr) -> None:
        """Store the endpoint's key; an empty one removes it."""
        with _KEYS_LOCK:
            stored_keys = self._read_keys()
            stored_keys.pop(endpoint_name, None)
            if api_key.get_secret_value():
                stored_keys[endpoint_name] = api_key.get_secret_value()
            write_secret(self._file_path, json.dumps(stored_keys, ensure_ascii=False).encode())

    def _read_keys(self) -> dict[str, str]:
        trouble = "not an object"
        try:
            restrict_to_owner(self._file_path)
            document = json.loads(self._file_path.read_bytes())
        except FileNotFoundError:
            return {}
        except (ValueError, OSError) as error:
            document, trouble = None, type(error).__name__
        # Raised outside the handler: a JSON error carries the file's text, and that holds keys.
        if not isinstance(document, dict):
            raise _unreadable_file_error(self._file_path, trouble)
        return {str(endpoint_name): str(api_key) for endpoint_name, api_key in document.items()}


def load_or_create_fence_key(home: Path) -> bytes:
    """The key that nonces are derived with, made at first use. Give it to `compose_message`."""
    key_path = home / "fence_key"
    with _KEYS_LOCK:
        try:
            restrict_to_owner(key_path)
            stored_key = key_path.read_bytes()
        except FileNotFoundError:
            created_key = secrets.token_hex(SHORTEST_KEY).encode()
            write_secret(key_path, created_key)
            return created_key
        except OSError as error:
            raise _unusable_key_error(key_path, error.strerror or str(error)) from error
    if len(stored_key) < SHORTEST_KEY:
        raise _unusable_key_error(key_path, f"shorter than {SHORTEST_KEY} bytes")
    return stored_key


def write_secret(file_path: Path, secret_bytes: bytes) -> None:
    """Write the file so that it is never half there and never readable by others.

    Raises UserError where the disk is full or the folder cannot be written.
    """
    try:
        _replace_file(file_path, secret_bytes)
    except OSError as error:
        disk_error = translate_disk_fault(error)
        if disk_error is None:
            raise
        raise disk_error from error


def _replace_file(file_path: Path, secret_bytes: bytes) -> None:
    file_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # In the same folder: only within one file system is the replacement atomic.
    file_descriptor, temporary_path = tempfile.mkstemp(
        dir=file_path.parent, prefix=f".{file_path.name}."
    )  # made with mode 0600
    try:
        with os.fdopen(file_descriptor, "wb") as temporary_file:
            temporary_file.write(secret_bytes)
            temporary_file.flush()
            # The rename may reach the disk before the content does; a power cut would then leave an empty key
            # file.
            os.fsync(temporary_file.fileno())
        Path(temporary_path).replace(file_path)
    # An interrupt as well must leave no second copy of the keys behind.
    except BaseException:
        Path(temporary_path).unlink(missing_ok=True)
        raise


def _unusable_key_error(key_path: Path, problem: str) -> UserError:
    return UserError(
        f"The key at {key_path} is not usable ({problem}); mend its rights, or remove it and a new one is made.",
        f"密钥文件 {key_path} 不可用（{problem}），请修正权限，或删除它让程序重新生成。",
    )


def _unreadable_file_error(file_path: Path, problem: str) -> UserError:
    return UserError(
        f"{file_path} cannot be read ({problem}); remove it and enter the keys again.",
        f"无法读取 {file_path}（{problem}），请删除该文件并重新填写密钥。",
    )
