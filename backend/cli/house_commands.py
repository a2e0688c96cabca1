"""`migrate` and `doctor`: the state of the house itself."""

import platform
import shutil
from importlib.metadata import version
from typing import Any

import typer

from backend.cli.output import JsonOption, print_result
from backend.services import open_services


def register(cli_app: typer.Typer) -> None:
    """Add the commands to the application."""
    cli_app.command("migrate")(migrate)
    cli_app.command("doctor")(doctor)


def migrate(as_json: JsonOption = False) -> None:
    """Bring the database to the newest revision."""
    from backend.db.migrate import stored_revision

    with open_services() as services:
        database_fields = {
            "url": services.database.engine.url.render_as_string(),
            "revision": stored_revision(services.database),
        }
    print_result(database_fields, as_json, lambda r: f"{r['url']} is at revision {r['revision']}")


def doctor(as_json: JsonOption = False) -> None:
    """Say what is installed, where the data lies and what is in it."""
    with open_services() as services:
        settings = services.settings
        environment_fields: dict[str, Any] = {
            "python": platform.python_version(),
            "packages": {
                package_name: version(package_name)
                for package_name in ("gradio", "torch", "transformers", "trl", "sqlalchemy")
            },
            "home": str(settings.home.resolve()),
            "disk_free_gb": round(shutil.disk_usage(settings.home.resolve()).free / 1e9, 1),
            "database": services.database.engine.url.render_as_string(),
            "llm_endpoint": settings.llm_base_url or None,
            "counts": services.corpus.counts(),
        }
    print_result(
        environment_fields,
        as_json,
        lambda r: "\n".join(f"{field_name}: {field_value}" for field_name, field_value in r.items()),
    )
