"""`endpoints`: the servers that answer for judges and agents. Keys are never printed."""

import asyncio
import os
import sys
from typing import Annotated, Any

import typer
from pydantic import SecretStr

from backend.cli.output import Json, emit
from backend.errors import UserError
from backend.llm.checks import EndpointInput
from backend.llm.endpoint import SchemaMode
from backend.llm.service import EndpointInfo
from backend.services import open_services

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the endpoint.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    endpoints = typer.Typer(help="Endpoints of language models: list, add, remove, test them.")
    endpoints.callback(invoke_without_command=True)(listing)
    endpoints.command("list")(listing_command)
    endpoints.command("add")(add)
    endpoints.command("remove")(remove)
    endpoints.command("test")(try_out)
    app.add_typer(endpoints, name="endpoints")


def listing(context: typer.Context, as_json: Json = False) -> None:
    """List the endpoints, when no other word follows."""
    if context.invoked_subcommand is None:
        listing_command(as_json)


def listing_command(as_json: Json = False) -> None:
    """List the endpoints."""
    with open_services() as services:
        result = {"endpoints": [_plain(info) for info in services.endpoints.endpoints()]}
    emit(result, as_json, lambda r: "\n".join(map(_line, r["endpoints"])) or "There are no endpoints.")


def add(
    name: Name,
    base_url: Annotated[str, typer.Option(help="Such as http://127.0.0.1:11434/v1.")],
    model: Annotated[str, typer.Option(help="Name of the model there.")],
    key_env: Annotated[str | None, typer.Option(help="Environment variable that holds the key.")] = None,
    price_in: Annotated[float, typer.Option(min=0, help="Price of a million tokens in.")] = 0.0,
    price_out: Annotated[float, typer.Option(min=0, help="Price of a million tokens out.")] = 0.0,
    concurrency: Annotated[int, typer.Option(min=1, help="Most calls at a time.")] = 16,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds for one attempt.")] = 60.0,
    schema: Annotated[SchemaMode, typer.Option(help="Whether it takes JSON schemas.")] = SchemaMode.AUTO,
    as_json: Json = False,
) -> None:
    """Add an endpoint, or change the one of that name. Without --key-env its key stays as it is."""
    entered = EndpointInput(
        name, base_url, model, _key(key_env), price_in, price_out, concurrency, timeout, schema
    )
    with open_services() as services:
        result = _plain(services.endpoints.save(entered))
    emit(result, as_json, _line)


def remove(name: Name, as_json: Json = False) -> None:
    """Remove an endpoint and its key; what it answered stays in the ledger."""
    with open_services() as services:
        services.endpoints.delete(name)
    emit({"removed": name}, as_json, lambda r: f"removed {r['removed']}")


def try_out(name: Name, as_json: Json = False) -> None:
    """Ask for one word and say in one sentence what works or what is wrong."""
    with open_services() as services:
        found = asyncio.run(services.endpoints.probe(name))
    emit(
        {"endpoint": name, "ok": found.ok, "message": found.message.en}, as_json, lambda r: str(r["message"])
    )
    if not found.ok:
        sys.exit(1)


def _key(variable: str | None) -> SecretStr | None:
    if variable is None:
        return None
    if variable not in os.environ:
        raise UserError(f"The environment has no variable {variable}.", f"环境中没有变量 {variable}。")
    return SecretStr(os.environ[variable])


def _plain(info: EndpointInfo) -> dict[str, Any]:
    return {
        "name": info.name,
        "base_url": info.base_url,
        "model": info.model,
        "price_in": info.price_in,
        "price_out": info.price_out,
        "concurrency": info.concurrency,
        "timeout_s": info.timeout_s,
        "schema": info.supports_schema.value,
        "has_key": info.has_key,
        "read_only": info.read_only,
    }


def _line(row: dict[str, Any]) -> str:
    key = "with a key" if row["has_key"] else "without a key"
    return f"{row['name']:<20}  {row['model']:<24}  {row['base_url']}  ({key})"
