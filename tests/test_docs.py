"""Documentation that cannot go stale: settings, commands, file map, links."""

import re
import subprocess
import sys

import pytest

from backend.jobs.options import JobOptions
from backend.settings import ROOT, Environment, Settings


@pytest.mark.parametrize("settings", [Settings, JobOptions])
def test_every_setting_is_documented(settings: type[Environment]) -> None:
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    prefix = str(settings.model_config["env_prefix"])
    missing = [name for name in settings.model_fields if f"`{prefix}{name.upper()}`" not in page]
    assert missing == []


def test_every_command_is_documented() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "backend", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    commands = re.findall(r"^│ ([a-z_]+) ", done.stdout, re.MULTILINE)
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert len(commands) > 5
    assert [name for name in commands if f"`{name}" not in page] == []


@pytest.mark.parametrize(
    "page", ["README.md", "docs/architecture.md", "docs/commands.md", "docs/settings.md"]
)
def test_links_and_pictures_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    targets = [t for t in re.findall(r"\]\(([^)#]+)\)", text) if not t.startswith("http")]
    assert [t for t in targets if not ((ROOT / page).parent / t).exists()] == []


def test_the_file_map_names_what_is_there() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rooms = [path.name for path in (ROOT / "backend").iterdir() if (path / "__init__.py").is_file()]
    assert [room for room in rooms if f"backend/{room}/" not in readme] == []
