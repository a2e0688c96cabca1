"""The golden home for every golden test: opened once to be looked at, copied to be changed; no network."""

import json
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.golden.archive import PLACE, as_set, copied, unpack
from tests.golden.looks.home import House, opened

OUT = "/golden/out"
"""How a folder that a test writes to is written down."""
_BASE = r"/[^\s\"']*/(?:commands|own)[0-9]+"


ASKED = "something was asked that the ledger answered when the home was made"


@pytest.fixture(scope="session")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home as committed, brought to the newest revision by the way the application does it."""
    home = tmp_path_factory.mktemp("golden") / "home"
    unpack(home)
    with pytest.MonkeyPatch.context() as patch:
        as_set(patch, home)
        opened(home).close()
    return home


@pytest.fixture(scope="module")
def house(unpacked: Path) -> Iterator[House]:
    """The home, only to be looked at."""
    with pytest.MonkeyPatch.context() as patch:
        as_set(patch, unpacked)
        made = opened(unpacked)
        yield made
        made.close()


@pytest.fixture
def own_home(unpacked: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to do with as one likes, which this process's settings name."""
    home = copied(unpacked, tmp_path_factory.mktemp("own") / "home")
    as_set(monkeypatch, home)
    return home


@pytest.fixture
def own_house(own_home: Path) -> Iterator[House]:
    """The copy, opened."""
    made = opened(own_home)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _nobody_asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No connection is even tried: what models said lies in the ledger of the home."""
    tried: list[object] = []
    real = socket.socket.connect

    def connect(self: socket.socket, address: object) -> object:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            tried.append(address)
            # No OSError, which the client would take for a server that may come back.
            pytest.fail(ASKED)
        return real(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", connect)
    yield
    assert tried == [], ASKED


@pytest.fixture
def masked(unpacked: Path, tmp_path: Path) -> Callable[[Any], Any]:
    """A value with the homes' places made the one that was packed: temporary folders differ by run."""

    def mask(value: Any) -> Any:
        told = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        told = told.replace(str(unpacked), PLACE).replace(str(tmp_path), OUT)
        told = re.sub(rf"{_BASE}/home", PLACE, told)
        told = re.sub(_BASE, OUT, told)
        return told if isinstance(value, str) else json.loads(told)

    return mask
