"""Comparing with what is committed under `expected/`, and writing that anew where it is wished for."""

import difflib
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.golden.plain import rendered

FOLDER = Path(__file__).parent / "expected"
SHOWN = 60
"""Lines of a difference that are shown."""


class Mode:
    """Whether expected files are compared with or written; only `tests.golden.update` sets it."""

    updating = False
    seen: ClassVar[set[Path]] = set()


def same(name: str, value: Any) -> None:
    """Fail where the value is not what `expected/NAME.json` holds."""
    same_text(f"{name}.json", rendered(value) + "\n")


def same_text(name: str, text: str) -> None:
    """Fail, with the difference, where the text is not what `expected/NAME` holds, byte for byte."""
    path = FOLDER / name
    Mode.seen.add(path)
    if Mode.updating:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
        return
    kept = path.read_bytes().decode() if path.exists() else ""
    if kept != text:
        pytest.fail(f"{path.relative_to(FOLDER.parent)} is not what the code gives now.\n{_told(kept, text)}", False)


def _told(kept: str, text: str) -> str:
    lines = difflib.unified_diff(kept.splitlines(), text.splitlines(), "committed", "now", n=1, lineterm="")
    found = [line[:300] for line in lines]
    more = [f"… and {len(found) - SHOWN} lines more"] if len(found) > SHOWN else []
    how = "Where that is meant: python -m tests.golden.update, and read the diff."
    return "\n".join([*found[:SHOWN], *more, how])
