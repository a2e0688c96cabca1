"""Messages of jobs: typed from the program to the page, with both languages, and read by nobody as prose."""

import ast
import json
import string
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.core.enums import EventLevel
from backend.core.settings import PROJECT_ROOT
from backend.jobs.messages import COUNTED, JobMessage, MessageTemplate

TEMPLATES_AS_JSON = """
import json, importlib, pathlib
for path in sorted(pathlib.Path("backend").rglob("*.py")):
    if "MessageTemplate(" in path.read_text(encoding="utf-8"):
        importlib.import_module(".".join(path.with_suffix("").parts))
from backend.jobs.messages import MessageTemplate
print(json.dumps({code: [one.en, one.zh] for code, one in MessageTemplate.all_templates.items()}))
"""
READERS = {"startswith", "endswith", "partition", "rpartition", "split", "removeprefix", "match", "search", "find"}
REPORTED = ("progress", "message", "remark", "log_line", "log_text", "event")


def test_every_code_has_both_languages_with_the_same_values() -> None:
    """In a process of its own: importing what has templates must not depend on what other tests imported."""
    done = subprocess.run([sys.executable, "-c", TEMPLATES_AS_JSON], cwd=PROJECT_ROOT, capture_output=True, check=True)
    templates = json.loads(done.stdout)
    assert {"counted", "collapse_stop", "constant_judge", "scoring", "counting", "training_step"} <= set(templates)
    for code, (en, zh) in templates.items():
        assert en and zh, code
        assert named(en) == named(zh), code
        is_figures = not any(letter.isalpha() for letter in unnamed(en))
        assert is_figures or any("一" <= letter <= "鿿" for letter in unnamed(zh)), f"{code} has no Chinese"
        assert not any("一" <= letter <= "鿿" for letter in en), f"{code} is not English"


def named(template: str) -> set[str]:
    """The values that a template names; those that differ between the languages count once."""
    names = [name for _, name, _, _ in string.Formatter().parse(template) if name]
    return {name.removesuffix("_en").removesuffix("_zh") for name in names}


def unnamed(template: str) -> str:
    """A template without its values."""
    return "".join(text for text, *_ in string.Formatter().parse(template))


def test_a_message_comes_back_as_it_was_stored() -> None:
    template = MessageTemplate("of_this_test", "{share:.1f} of {name}", "{name} 的 {share:.1f}", EventLevel.STOP)
    message = template.fill(share=0.25, name="奶奶", nothing=float("nan"))
    row = json.loads(json.dumps(message.to_data(), allow_nan=False))
    assert row["text"] == "奶奶 的 0.2 | 0.2 of 奶奶" and row["values"]["nothing"] is None
    again = JobMessage.from_data(row)
    assert again == message and (again.code, again.level, again.values["share"]) == ("of_this_test", "stop", 0.25)
    assert COUNTED.fill(done=1, total=3).log_line == "1 / 3", "information is logged in English alone"


def test_a_row_of_text_alone_is_a_plain_line() -> None:
    message = JobMessage.from_data({"text": "警告：停止 | warning"})
    assert (message.zh, message.en, message.code, message.level) == (
        "警告：停止 | warning",
        "警告：停止 | warning",
        "",
        EventLevel.INFO,
    )


def test_a_code_names_one_message() -> None:
    MessageTemplate("counted", "{done} / {total}", "{done} / {total}")
    with pytest.raises(ValueError, match="counted"):
        MessageTemplate("counted", "other", "别的")


def page_modules() -> Iterator[tuple[Path, ast.Module]]:
    """Every module of the pages."""
    for path in sorted((PROJECT_ROOT / "ui").rglob("*.py")):
        yield path, ast.parse(path.read_text("utf-8"))


def test_no_page_reads_prose() -> None:
    """Pages render messages by code, level and values; none of them looks into a sentence or a line of a log."""
    for path, tree in page_modules():
        for node in ast.walk(tree):
            assert not (isinstance(node, ast.Attribute) and node.attr == "progress_text"), f"{path}:{node.lineno}"
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in READERS:
                looked_into = ast.unparse(node.func.value) + "".join(map(ast.unparse, node.args[1:]))
                assert not any(word in looked_into for word in REPORTED), f"{path}:{node.lineno}: {looked_into}"


def test_the_pages_of_trainings_have_no_pattern_at_all() -> None:
    for path, tree in page_modules():
        if path.parent.name != "training":
            continue
        imported = {one.name for node in ast.walk(tree) if isinstance(node, ast.Import) for one in node.names}
        called = {
            node.func.attr for node in ast.walk(tree) if isinstance(node, ast.Call) and hasattr(node.func, "attr")
        }
        assert "re" not in imported and not {"startswith", "match", "search"} & called, path
        strings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
        assert not {" | ", "停止", "unscored by"} & strings, path
