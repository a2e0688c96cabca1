"""The rules between rooms that import-linter cannot say, and the promises of a fresh start."""

import ast
import re
import subprocess
import sys

import gradio as gr
import pytest

from backend.core.settings import PROJECT_ROOT
from ui.components.language import Translator
from ui.components.widgets import friendly_errors


def test_the_web_process_never_imports_torch() -> None:
    code = "import app, sys, ui.shell.app; print([name for name in ('torch', 'trl', 'peft') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_application_starts_without_slow_libraries() -> None:
    """What takes seconds to load is loaded where it is used: a start would pay for it on every run."""
    slow = ("openai", "sklearn", "scipy", "alembic", "pandas", "gradio", "torch")
    code = f"import app, sys; print([name for name in {slow} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_only_training_imports_the_training_libraries() -> None:
    found = []
    for path in (PROJECT_ROOT / "backend").rglob("*.py"):
        if path.is_relative_to(PROJECT_ROOT / "backend" / "training" / "programs"):
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
        for path in (PROJECT_ROOT / folder).rglob("*.py")
        if not path.is_relative_to(PROJECT_ROOT / "backend" / "training" / "programs")
        and any(
            re.match(r"\s*(import|from) backend\.training\.programs[. ]", line)
            for line in path.read_text(encoding="utf-8").splitlines()
        )
    ]
    assert found == []


def test_a_handler_cannot_hang_a_component_into_a_page_that_is_being_built() -> None:
    def answer() -> list[object]:
        return [gr.update(visible=False), gr.skip()]

    def slip() -> list[object]:
        return [gr.Row(visible=False, render=False)]

    assert friendly_errors(Translator("en"))(answer)() == answer()
    with pytest.raises(gr.Error, match="Something broke inside"):
        friendly_errors(Translator("en"))(slip)()


def test_no_page_makes_components_where_it_means_an_update() -> None:
    """What only says `visible`, `value` and the like, and is not entered, is an answer."""
    answers = {"choices", "value", "visible", "active", "selected", "interactive", "open"}
    found = []
    for path in (PROJECT_ROOT / "ui").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        kept = {id(item.context_expr) for node in ast.walk(tree) if isinstance(node, ast.With) for item in node.items}
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or id(node) in kept or not node.keywords:
                continue
            made = ast.unparse(node.func)
            only = not node.args and {word.arg for word in node.keywords} <= answers
            if only and re.fullmatch(r"gr\.(?!Navbar)[A-Z]\w+", made):
                found.append(f"{path.name}:{node.lineno} {made}")
    assert found == []
