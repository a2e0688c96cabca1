"""`generate`: greetings from a trained model or an endpoint, with the checks of the page."""

import sys
from typing import Annotated, Any

import typer

from backend.cli.output import JsonOption, print_result
from backend.errors import UserError
from backend.jobs.keeper import start_worker
from backend.playground.records import CardView, PlayRequest, RoundView
from backend.services import Services, open_services
from backend.training_runs.config import ARTIFACT_PREFIX
from backend.writing.generators import Readiness

CLI_VISITOR = "cli"
ArtifactOption = Annotated[str | None, typer.Option(help="A trained model: its number, or artifact:N.")]
EndpointOption = Annotated[str | None, typer.Option(help="Name of an endpoint.")]


def register(cli_app: typer.Typer) -> None:
    """Add the command to the application."""
    cli_app.command("generate")(generate_greetings)


def generate_greetings(
    prompt: Annotated[str, typer.Option(help="Whom for, what for, how: a sentence.")],
    artifact: ArtifactOption = None,
    endpoint: EndpointOption = None,
    greeting_count: Annotated[
        int | None, typer.Option("-n", min=1, max=20, help="How many; default: as asked, or 1.")
    ] = None,
    temperature: Annotated[float | None, typer.Option(min=0, max=2)] = None,
    top_p: Annotated[float | None, typer.Option(min=0.05, max=1)] = None,
    max_tokens: Annotated[int | None, typer.Option(min=8, max=2000, help="Most tokens of one.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, max=2**31 - 2, help="The same writes the same.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Write greetings. A trained model is started where it does not run, and rests after a while.

    Exits 1 where one of them could not be written or is not as asked: its `error` or `note` says why.
    """
    generator_name = _generator_name(artifact, endpoint)
    sampling_options = {"temperature": temperature, "top_p": top_p, "max_tokens": max_tokens}
    sampling_overrides = {
        option_name: option_value for option_name, option_value in sampling_options.items() if option_value is not None
    }
    with open_services() as services:
        _start_generator(services, generator_name)
        started_round = services.play.begin(
            PlayRequest((generator_name,), prompt, count=greeting_count or 1, sampling=sampling_overrides, seed=seed),
            CLI_VISITOR,
        )
        services.play.wait(started_round.token)
        round_fields = _round_to_dict(services.play.view(started_round.token, CLI_VISITOR))
    print_result(round_fields, as_json, _format_round)
    if any(greeting_fields["error"] or greeting_fields["note"] for greeting_fields in round_fields["greetings"]):
        raise typer.Exit(1)


def _generator_name(artifact: str | None, endpoint: str | None) -> str:
    if (artifact is None) == (endpoint is None):
        raise UserError("Give either --artifact or --endpoint.", "请在 --artifact 和 --endpoint 中选一个。")
    if artifact is None:
        return str(endpoint)
    return f"{ARTIFACT_PREFIX}{artifact.removeprefix(ARTIFACT_PREFIX)}"


def _start_generator(services: Services, generator_name: str) -> None:
    generator_info = services.generators.info(generator_name)
    if generator_info.readiness is Readiness.READY:
        return
    if not services.jobs.workers():
        start_worker(services.settings)
    print(f"starting {generator_info.title} …", file=sys.stderr, flush=True)


def _round_to_dict(round_view: RoundView) -> dict[str, Any]:
    return {
        "prompt": round_view.prompt,
        "generator": round_view.cards[0].generator,
        "model": round_view.cards[0].model,
        "seed": round_view.seed,
        "greetings": [_card_to_dict(card_view) for card_view in round_view.cards],
    }


def _card_to_dict(card_view: CardView) -> dict[str, Any]:
    note_text = card_view.note.en if card_view.note else None
    return {
        "text": card_view.text,
        "seed": card_view.seed,
        "tries": card_view.tries,
        "seconds": card_view.seconds,
        "note": note_text if card_view.text else None,
        "error": None if card_view.text else note_text,
    }


def _format_round(round_fields: dict[str, Any]) -> str:
    return "\n".join(_format_greeting(greeting_fields) for greeting_fields in round_fields["greetings"])


def _format_greeting(greeting_fields: dict[str, Any]) -> str:
    if greeting_fields["error"]:
        return f"({greeting_fields['error']})"
    return (
        f"{greeting_fields['text']}  ({greeting_fields['note']})"
        if greeting_fields["note"]
        else str(greeting_fields["text"])
    )
