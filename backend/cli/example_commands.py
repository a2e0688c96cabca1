"""`examples`: what a panel, or whoever writes candidates, is shown for a request."""

import time
from dataclasses import asdict
from typing import Annotated, Any

import typer

from backend.cli.output import Json, emit
from backend.judges.registry import EXAMPLES, MOST_EXAMPLES, ExampleWish
from backend.scoring.blocking import blocking
from backend.services import open_services


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("examples")(examples)


def examples(
    prompt: Annotated[str, typer.Argument(metavar="REQUEST", help="The request.", show_default=False)],
    greeting: Annotated[str, typer.Option(help="The greeting under judgement: it never comes back.")] = "",
    count: Annotated[int, typer.Option("-n", min=1, max=MOST_EXAMPLES, help="How many.")] = EXAMPLES,
    embeddings: Annotated[
        str | None, typer.Option(metavar="ENDPOINT", help="Find them by meaning too.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Liked greetings for similar requests. Requests that evaluate, and the request itself, give none."""
    with open_services() as services:
        retriever = services.examples.opened(ExampleWish(count, embeddings))
        began = time.perf_counter()
        found = blocking(retriever.found(prompt, greeting))
        seconds = time.perf_counter() - began
    result: dict[str, Any] = {
        "prompt": prompt,
        "index": retriever.index.name,
        "entries": retriever.index.entries,
        "seconds": seconds,
        "notice": retriever.notice.en if retriever.notice else None,
        "examples": [asdict(one) for one in found],
    }
    emit(result, as_json, _lines)


def _lines(result: dict[str, Any]) -> str:
    lines = [f"{one['prompt']}\n    {one['greeting']}" for one in result["examples"]]
    lines += [result["notice"]] if result["notice"] else []
    return "\n".join(lines) or f"None of the {result['entries']} liked greetings fits."
