"""`generate`: greetings from a trained model or an endpoint, with the checks of the page."""

import sys
from typing import Annotated, Any

import typer

from backend.cli.output import Json, emit
from backend.errors import UserError
from backend.jobs.keeper import start_worker
from backend.playground.records import CardView, PlayRequest, RoundView
from backend.services import Services, open_services
from backend.training_runs.config import ARTIFACT
from backend.writing.generators import Readiness

VISITOR = "cli"
Artifact = Annotated[str | None, typer.Option(help="A trained model: its number, or artifact:N.")]
Endpoint = Annotated[str | None, typer.Option(help="Name of an endpoint.")]


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("generate")(generate)


def generate(
    prompt: Annotated[str, typer.Option(help="Whom for, what for, how: a sentence.")],
    artifact: Artifact = None,
    endpoint: Endpoint = None,
    n: Annotated[
        int | None, typer.Option("-n", min=1, max=20, help="How many; default: as asked, or 1.")
    ] = None,
    temperature: Annotated[float | None, typer.Option(min=0, max=2)] = None,
    top_p: Annotated[float | None, typer.Option(min=0.05, max=1)] = None,
    max_tokens: Annotated[int | None, typer.Option(min=8, max=2000, help="Most tokens of one.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, max=2**31 - 2, help="The same writes the same.")] = None,
    as_json: Json = False,
) -> None:
    """Write greetings. A trained model is started where it does not run, and rests after a while.

    Exits 1 where one of them could not be written or is not as asked: its `error` or `note` says why.
    """
    name = _generator(artifact, endpoint)
    given = {"temperature": temperature, "top_p": top_p, "max_tokens": max_tokens}
    sampling = {key: value for key, value in given.items() if value is not None}
    with open_services() as services:
        _wake(services, name)
        begun = services.play.begin(
            PlayRequest((name,), prompt, count=n or 1, sampling=sampling, seed=seed), VISITOR
        )
        services.play.wait(begun.token)
        result = _plain(services.play.view(begun.token, VISITOR))
    emit(result, as_json, _lines)
    if any(one["error"] or one["note"] for one in result["greetings"]):
        raise typer.Exit(1)


def _generator(artifact: str | None, endpoint: str | None) -> str:
    if (artifact is None) == (endpoint is None):
        raise UserError("Give either --artifact or --endpoint.", "请在 --artifact 和 --endpoint 中选一个。")
    if artifact is None:
        return str(endpoint)
    return f"{ARTIFACT}{artifact.removeprefix(ARTIFACT)}"


def _wake(services: Services, name: str) -> None:
    info = services.generators.info(name)
    if info.readiness is Readiness.READY:
        return
    if not services.jobs.workers():
        start_worker(services.settings)
    print(f"starting {info.title} …", file=sys.stderr, flush=True)


def _plain(view: RoundView) -> dict[str, Any]:
    return {
        "prompt": view.prompt,
        "generator": view.cards[0].generator,
        "model": view.cards[0].model,
        "seed": view.seed,
        "greetings": [_card(card) for card in view.cards],
    }


def _card(card: CardView) -> dict[str, Any]:
    told = card.note.en if card.note else None
    return {
        "text": card.text,
        "seed": card.seed,
        "tries": card.tries,
        "seconds": card.seconds,
        "note": told if card.text else None,
        "error": None if card.text else told,
    }


def _lines(result: dict[str, Any]) -> str:
    return "\n".join(_line(one) for one in result["greetings"])


def _line(one: dict[str, Any]) -> str:
    if one["error"]:
        return f"({one['error']})"
    return f"{one['text']}  ({one['note']})" if one["note"] else str(one["text"])
