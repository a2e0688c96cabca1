"""`python -m tests.route_paths HOME`: the paths of all routes, the application's and Gradio's, as JSON.

In a process of its own, since a Gradio application that is built and never served leaves event loops open.
"""

import json
import re
import sys
from pathlib import Path

from fastapi import FastAPI
from starlette.routing import Mount, Route

from backend.core.settings import Settings
from backend.services import build_services
from ui.shell.app import LANGUAGES, build_app


def paths_of(app: FastAPI) -> list[str]:
    """The paths, with something in their gaps; what the first language has, the others have too."""
    found: set[str] = set()

    def walk(routes: list[object], prefix: str) -> None:
        for route in routes:
            if isinstance(route, Mount):
                found.add(f"{prefix}{route.path}/x")
                walk(list(getattr(route.app, "routes", [])), f"{prefix}{route.path}")
            elif isinstance(route, Route):
                found.add(prefix + re.sub(r"\{[^}]*\}", "1", route.path))
            elif included := getattr(route, "original_router", None):
                walk(list(included.routes), prefix)

    walk(list(app.routes), "")
    first = f"/{LANGUAGES[0]}/"
    below = [path.removeprefix(first) for path in found if path.startswith(first)]
    return sorted(found | {f"/{lang}/{path}" for path in below for lang in LANGUAGES})


if __name__ == "__main__":
    services = build_services(Settings(home=Path(sys.argv[1])))
    print(json.dumps(paths_of(build_app(services))))
    services.close()
