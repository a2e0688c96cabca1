"""The rules between rooms that import-linter cannot say, and the promises of a fresh start."""

import re
import subprocess
import sys

from backend.settings import ROOT


def test_the_web_process_never_imports_torch() -> None:
    code = "import app, sys; print([name for name in ('torch', 'trl', 'peft') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_only_training_imports_the_training_libraries() -> None:
    found = []
    for path in (ROOT / "backend").rglob("*.py"):
        if path.is_relative_to(ROOT / "backend" / "training"):
            continue
        for line in path.read_text(encoding="utf-8").splitlines():
            words = line.strip().split()
            if words[:1] in (["import"], ["from"]) and words[1].split(".")[0] in (
                "torch",
                "transformers",
                "trl",
                "peft",
            ):
                found.append(f"{path.name}: {line}")
    assert found == []


def test_nobody_imports_training() -> None:
    found = [
        str(path)
        for folder in ("backend", "ui")
        for path in (ROOT / folder).rglob("*.py")
        if not path.is_relative_to(ROOT / "backend" / "training")
        and any(
            re.match(r"\s*(import|from) backend\.training[. ]", line)
            for line in path.read_text(encoding="utf-8").splitlines()
        )
    ]
    assert found == []
