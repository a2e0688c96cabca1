"""Documentation that cannot go stale: settings, commands, file map, links."""

import re
import subprocess
import sys

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from backend.core.settings import PROJECT_ROOT, Environment, Settings
from backend.jobs.records import JobOptions
from ui.shell.app import LANGUAGES, SITE_PAGES
from ui.shell.documents import build_router


@pytest.mark.parametrize("settings", [Settings, JobOptions])
def test_every_setting_is_documented(settings: type[Environment]) -> None:
    page = (PROJECT_ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    prefix = str(settings.model_config["env_prefix"])
    missing = [name for name in settings.model_fields if f"`{prefix}{name.upper()}`" not in page]
    assert missing == []


def test_every_command_is_documented() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "backend", "--help"],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    commands = re.findall(r"^│ ([a-z_]+) ", done.stdout, re.MULTILINE)
    page = (PROJECT_ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert len(commands) > 5
    assert [name for name in commands if f"`{name}" not in page] == []


DOCS = PROJECT_ROOT / "docs"
GUIDED = [
    path.relative_to(PROJECT_ROOT).as_posix() for lang in LANGUAGES for path in sorted((DOCS / lang).glob("*.md"))
]


def targets_of(page: str) -> list[str]:
    text = (PROJECT_ROOT / page).read_text(encoding="utf-8")
    return [t for t in re.findall(r"\]\(([^)#]+)\)", text) if not t.startswith("http")]


@pytest.mark.parametrize("page", ["README.md", "docs/architecture.md", "docs/commands.md", "docs/settings.md", *GUIDED])
def test_links_and_pictures_lead_somewhere(page: str) -> None:
    assert [t for t in targets_of(page) if not ((PROJECT_ROOT / page).parent / t).exists()] == []


def test_every_page_is_documented_with_a_picture_in_both_languages() -> None:
    names = {lang: {path.stem for path in (DOCS / lang).glob("*.md")} for lang in LANGUAGES}
    assert names["zh"] == names["en"] >= {page.url_path for page in SITE_PAGES if page.url_path}
    for lang, found in names.items():
        index = targets_of(f"docs/{lang}/index.md")
        assert {f"{name}.md" for name in found} - set(index) == {"index.md"}
        for name in found & {page.url_path for page in SITE_PAGES}:
            assert any(t.endswith(f"-{lang}.png") for t in targets_of(f"docs/{lang}/{name}.md")), name


def test_pictures_stay_small() -> None:
    assert [p.name for p in (DOCS / "images").iterdir() if p.stat().st_size > 120_000] == []


def test_the_documentation_is_served_and_nothing_else() -> None:
    app = FastAPI()
    app.include_router(build_router("/style.css", "/script.js"))
    client = TestClient(app)
    for page in GUIDED:
        reply = client.get(f"/help/{page.removeprefix('docs/')}")
        assert reply.status_code == 200 and "<h1>" in reply.text, page
        for target in re.findall(r'(?:src|href)="([^"/][^":]*)"', reply.text):
            assert client.get(str(reply.url.join(target))).status_code == 200, (page, target)
    for path in ("zh/nothing.md", "../README.md", "%2e%2e/README.md", "decisions", "../var/zhufu.db", "zh/"):
        assert client.get(f"/help/{path}").status_code == 404, path


def test_the_file_map_names_what_is_there() -> None:
    readme = (PROJECT_ROOT / "README.md").read_text(encoding="utf-8")
    rooms = [path.name for path in (PROJECT_ROOT / "backend").iterdir() if (path / "__init__.py").is_file()]
    assert [room for room in rooms if f"backend/{room}/" not in readme] == []
