"""`endpoints`: the servers that answer for judges and agents. Keys are never printed."""

import asyncio
import os
import sys
from typing import Annotated, Any

import typer
from pydantic import SecretStr

from backend.cli.output import JsonOption, list_by_default, print_listing, print_result
from backend.core.errors import UserError
from backend.llm.endpoints import EndpointInfo, EndpointInput
from backend.llm.messages import SchemaMode
from backend.services import open_services

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the endpoint.")]


def register(cli_app: typer.Typer) -> None:
    """Add the commands to the application."""
    endpoints_group = typer.Typer(help="Endpoints of language models: list, add, remove, test them.")
    list_by_default(endpoints_group, list_endpoints)
    endpoints_group.command("list")(list_endpoints)
    endpoints_group.command("add")(add_endpoint)
    endpoints_group.command("remove")(remove_endpoint)
    endpoints_group.command("test")(probe_endpoint)
    cli_app.add_typer(endpoints_group, name="endpoints")


def list_endpoints(as_json: JsonOption = False) -> None:
    """List the endpoints."""
    with open_services() as services:
        endpoint_rows = [_endpoint_to_dict(endpoint_info) for endpoint_info in services.endpoints.endpoints()]
    print_listing("endpoints", endpoint_rows, as_json, _format_endpoint, "There are no endpoints.")


def add_endpoint(
    endpoint_name: NameArgument,
    base_url: Annotated[str, typer.Option(help="Such as http://127.0.0.1:11434/v1.")],
    model: Annotated[str, typer.Option(help="Name of the model there.")],
    # The name of a variable and never the key: command lines stand in histories and in the list of processes.
    key_env: Annotated[str | None, typer.Option(help="Environment variable that holds the key.")] = None,
    price_in: Annotated[float, typer.Option(min=0, help="Price of a million tokens in.")] = 0.0,
    price_out: Annotated[float, typer.Option(min=0, help="Price of a million tokens out.")] = 0.0,
    concurrency: Annotated[int, typer.Option(min=1, help="Most calls at a time.")] = 16,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds for one attempt.")] = 60.0,
    schema: Annotated[SchemaMode, typer.Option(help="Whether it takes JSON schemas.")] = SchemaMode.AUTO,
    as_json: JsonOption = False,
) -> None:
    """Add an endpoint, or change the one of that name. Without --key-env its key stays as it is."""
    endpoint_input = EndpointInput(
        endpoint_name, base_url, model, _read_key(key_env), price_in, price_out, concurrency, timeout, schema
    )
    with open_services() as services:
        endpoint_fields = _endpoint_to_dict(services.endpoints.save(endpoint_input))
    print_result(endpoint_fields, as_json, _format_endpoint)


def remove_endpoint(endpoint_name: NameArgument, as_json: JsonOption = False) -> None:
    """Remove an endpoint and its key; what it answered stays in the ledger."""
    with open_services() as services:
        services.endpoints.delete(endpoint_name)
    print_result({"removed": endpoint_name}, as_json, lambda r: f"removed {r['removed']}")


def probe_endpoint(endpoint_name: NameArgument, as_json: JsonOption = False) -> None:
    """Ask for one word and say in one sentence what works or what is wrong."""
    with open_services() as services:
        probe_result = asyncio.run(services.endpoints.probe(endpoint_name))
    print_result(
        {"endpoint": endpoint_name, "ok": probe_result.ok, "message": probe_result.message.en},
        as_json,
        lambda r: str(r["message"]),
    )
    # The command itself worked, so 1 and not 2; a script can wait for an endpoint by it.
    if not probe_result.ok:
        sys.exit(1)


def _read_key(variable_name: str | None) -> SecretStr | None:
    if variable_name is None:
        return None
    if variable_name not in os.environ:
        raise UserError(f"The environment has no variable {variable_name}.", f"环境中没有变量 {variable_name}。")
    # Wrapped, so that no traceback and no printed record shows it.
    return SecretStr(os.environ[variable_name])


def _endpoint_to_dict(endpoint_info: EndpointInfo) -> dict[str, Any]:
    return {
        "name": endpoint_info.name,
        "base_url": endpoint_info.base_url,
        "model": endpoint_info.model,
        "price_in": endpoint_info.price_in,
        "price_out": endpoint_info.price_out,
        "concurrency": endpoint_info.concurrency,
        "timeout_s": endpoint_info.timeout_s,
        "schema": endpoint_info.supports_schema.value,
        # Whether and never which: what commands print ends up in logs.
        "has_key": endpoint_info.has_key,
        "read_only": endpoint_info.read_only,
    }


def _format_endpoint(endpoint_fields: dict[str, Any]) -> str:
    key_note = "with a key" if endpoint_fields["has_key"] else "without a key"
    return f"{endpoint_fields['name']:<20}  {endpoint_fields['model']:<24}  {endpoint_fields['base_url']}  ({key_note})"
