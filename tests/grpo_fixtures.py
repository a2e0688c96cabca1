"""A home with tiny models, made once a session in a process of its own."""

import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests import warm


@dataclass(frozen=True)
class TinyHome:
    """Folders of a home with the seed corpus."""

    home: Path
    snapshot: str

    @property
    def policy(self) -> Path:
        return self.home / "policy"

    @property
    def lora(self) -> Path:
        return self.home / "lora"

    @property
    def rm(self) -> Path:
        return self.home / "rm"


@cache
def make_tiny_home(base: Path) -> TinyHome:
    """Policy, adapter, reward model and snapshot; tests read them and write elsewhere."""
    home = base / "tiny"
    home.mkdir()
    done = warm.run("tests.grpo_tiny", env=os.environ | {"ZHUFU_HOME": str(home)})
    assert done.returncode == 0, done.stderr
    return TinyHome(home, json.loads((home / "tiny.json").read_text())["snapshot"])
