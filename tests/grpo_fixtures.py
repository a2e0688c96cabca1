"""A home with tiny models, made once a session in a process of its own."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from backend.settings import ROOT


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
    environment = os.environ | {"ZHUFU_HOME": str(home), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.grpo_tiny"], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return TinyHome(home, json.loads((home / "tiny.json").read_text())["snapshot"])
