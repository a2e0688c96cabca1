"""`judges`: list them, make one, try one on a text."""

from pathlib import Path
from typing import Annotated, Any

import typer

from backend.cli.output import Json, emit
from backend.cli.principles_file import read_principles
from backend.judges.base import Draft, PairSample, Sample
from backend.judges.registry import EXAMPLES, MOST_EXAMPLES
from backend.judges.spec import JudgeKind, JudgeSpec
from backend.scoring.records import JudgeInfo
from backend.services import open_services

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the judge.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    judges = typer.Typer(help="Judges: list them, make one, try one on a text.")
    judges.callback(invoke_without_command=True)(listing)
    judges.command("list")(listing_command)
    judges.command("add")(add)
    judges.command("try")(try_out)
    app.add_typer(judges, name="judges")


def listing(context: typer.Context, as_json: Json = False) -> None:
    """List the judges, when no other word follows."""
    if context.invoked_subcommand is None:
        listing_command(as_json)


def listing_command(as_json: Json = False) -> None:
    """List the judges at every version, the newest first."""
    with open_services() as services:
        result = {"judges": [_plain(info) for info in services.scoring.catalog.judges()]}
    emit(result, as_json, lambda r: "\n".join(map(_line, r["judges"])) or "There are no judges yet.")


def add(
    name: Name,
    kind: Annotated[JudgeKind, typer.Option(help="What kind of judge it is.")],
    endpoint: Annotated[str | None, typer.Option(help="Endpoint that answers, by name.")] = None,
    principles: Annotated[
        Path | None, typer.Option(help="Text file of at most ten principles, one a line.")
    ] = None,
    artifact: Annotated[Path | None, typer.Option(help="Folder of a trained model.")] = None,
    agent: Annotated[
        list[str] | None, typer.Option(metavar="ROLE=ENDPOINT", help="A panel's agent asks its own endpoint.")
    ] = None,
    examples: Annotated[
        int | None, typer.Option(min=0, max=MOST_EXAMPLES, help="Liked greetings that a panel is shown (3).")
    ] = None,
    embeddings: Annotated[
        str | None, typer.Option(metavar="ENDPOINT", help="Find the examples by meaning too.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a judge. The same name with other settings is a new version of it."""
    config: dict[str, Any] = {}
    if principles is not None:
        config["principles"] = read_principles(principles)
    if artifact is not None:
        config["path"] = str(artifact)
    if agent:
        config["endpoints"] = dict(part.partition("=")[::2] for part in agent)
    if kind is JudgeKind.PANEL or examples is not None:
        config["examples"] = EXAMPLES if examples is None else examples
    if embeddings is not None:
        config["embeddings"] = embeddings
    with open_services() as services:
        result = _plain(services.scoring.catalog.save(JudgeSpec(kind, name, endpoint, config)))
    emit(result, as_json, _line)


def try_out(
    name: Name,
    prompt: Annotated[str, typer.Option(help="The request.")],
    greeting: Annotated[str, typer.Option(help="The greeting to judge.")],
    second: Annotated[str | None, typer.Option(help="The other greeting, for a pairwise judge.")] = None,
    endpoint: Annotated[str | None, typer.Option(help="Endpoint that answers, by name.")] = None,
    as_json: Json = False,
) -> None:
    """One verdict on a text, shown and not stored."""
    sample = Sample(prompt, greeting) if second is None else PairSample(prompt, greeting, second)
    with open_services() as services:
        draft = services.scoring.judge_one(services.scoring.catalog.resolve(name, endpoint), sample)
    if isinstance(draft, Draft):
        result: dict[str, Any] = {"judge": name, "value": draft.value, "reason": draft.reason}
    else:
        outcome = draft.outcome.value if draft.outcome else None
        result = {"judge": name, "outcome": outcome, "flip": draft.flip, "reasons": list(draft.reasons)}
    emit({**result, "details": draft.details or {}}, as_json, _verdict)


def _plain(info: JudgeInfo) -> dict[str, Any]:
    return {
        "id": info.id,
        "name": info.name,
        "kind": info.kind.value if info.kind else None,
        "version": info.version,
        "newest": info.newest,
        "endpoint": info.endpoint,
        "scored": info.scored,
        "unscored": info.unscored,
        "cost": info.cost,
    }


def _line(row: dict[str, Any]) -> str:
    older = "" if row["newest"] else "  (older)"
    return (
        f"{row['name']:<20}  {row['kind'] or '–':<12}  {row['version']}  scored {row['scored']:,}, "
        f"unscored {row['unscored']:,}, cost {row['cost']:.4f}{older}"
    )


def _verdict(result: dict[str, Any]) -> str:
    if "outcome" in result:
        return f"{result['outcome'] or 'unscored'}: {'; '.join(result['reasons'])}"
    value = "unscored" if result["value"] is None else f"{result['value']:g}"
    return f"{value}: {result['reason']}"
