"""`migrate` and `doctor`: the state of the house itself."""

import platform
import shutil
from importlib.metadata import version
from typing import Any

import typer

from backend.cli.output import Json, emit
from backend.services import open_services


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command("migrate")(migrate)
    app.command("doctor")(doctor)


def migrate(as_json: Json = False) -> None:
    """Bring the database to the newest revision."""
    from backend.db.migrate import current

    with open_services() as services:
        result = {
            "url": services.database.engine.url.render_as_string(),
            "revision": current(services.database),
        }
    emit(result, as_json, lambda r: f"{r['url']} is at revision {r['revision']}")


def doctor(as_json: Json = False) -> None:
    """Say what is installed, where the data lies and what is in it."""
    with open_services() as services:
        settings = services.settings
        result: dict[str, Any] = {
            "python": platform.python_version(),
            "packages": {
                name: version(name) for name in ("gradio", "torch", "transformers", "trl", "sqlalchemy")
            },
            "home": str(settings.home.resolve()),
            "disk_free_gb": round(shutil.disk_usage(settings.home.resolve()).free / 1e9, 1),
            "database": services.database.engine.url.render_as_string(),
            "llm_endpoint": settings.llm_base_url or None,
            "counts": services.corpus.counts(),
        }
    emit(result, as_json, lambda r: "\n".join(f"{key}: {value}" for key, value in r.items()))
