"""`examples`: what a panel, or whoever writes candidates, is shown for a request."""

import time
from dataclasses import asdict
from typing import Annotated, Any

import typer

from backend.cli.output import JsonOption, print_result
from backend.judges.registry import DEFAULT_EXAMPLES, MOST_EXAMPLES, ExampleRequest
from backend.scoring.blocking import run_blocking
from backend.services import open_services


def register(cli_app: typer.Typer) -> None:
    """Add the command to the application."""
    cli_app.command("examples")(find_examples)


def find_examples(
    prompt_text: Annotated[str, typer.Argument(metavar="REQUEST", help="The request.", show_default=False)],
    greeting: Annotated[str, typer.Option(help="The greeting under judgement: it never comes back.")] = "",
    example_count: Annotated[int, typer.Option("-n", min=1, max=MOST_EXAMPLES, help="How many.")] = DEFAULT_EXAMPLES,
    embeddings: Annotated[str | None, typer.Option(metavar="ENDPOINT", help="Find them by meaning too.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Liked greetings for similar requests. Requests that evaluate, and the request itself, give none."""
    with open_services() as services:
        retriever = services.examples.open_retriever(ExampleRequest(example_count, embeddings))
        started_at = time.perf_counter()
        matches = run_blocking(retriever.retrieve(prompt_text, greeting))
        elapsed_seconds = time.perf_counter() - started_at
    example_fields: dict[str, Any] = {
        "prompt": prompt_text,
        "index": retriever.index.name,
        "entries": retriever.index.greeting_count,
        "seconds": elapsed_seconds,
        "notice": retriever.notice.en if retriever.notice else None,
        "examples": [asdict(example) for example in matches],
    }
    print_result(example_fields, as_json, _format_examples)


def _format_examples(example_fields: dict[str, Any]) -> str:
    output_lines = [f"{example['prompt']}\n    {example['greeting']}" for example in example_fields["examples"]]
    output_lines += [example_fields["notice"]] if example_fields["notice"] else []
    return "\n".join(output_lines) or f"None of the {example_fields['entries']} liked greetings fits."
