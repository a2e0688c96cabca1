"""Options that belong together as one parameter: a command takes dataclasses, the command line sees their fields."""

import inspect
from collections.abc import Callable
from dataclasses import MISSING, Field, asdict, dataclass, fields, is_dataclass
from functools import wraps
from typing import Annotated, Any, get_type_hints

import typer


@dataclass(frozen=True)
class BudgetCaps:
    """What a run may use before it ends cleanly; None: no cap."""

    # 0 is a cap like any other: such a run takes only what the ledger has.
    max_cost: Annotated[float | None, typer.Option(min=0, help="End when this much is spent.")] = None
    max_calls: Annotated[int | None, typer.Option(min=0, help="End after so many calls.")] = None
    max_tokens: Annotated[int | None, typer.Option(min=0, help="End after so many tokens.")] = None

    def by_name(self) -> dict[str, Any]:
        """The caps as services take them."""
        return asdict(self)


@dataclass(frozen=True)
class RunMode:
    """Whether a run is only estimated, queued, or played here; `job` is the queued job that a worker plays."""

    only_estimate: Annotated[bool, typer.Option("--estimate", help="Only say what it would take.")] = False
    in_background: Annotated[bool, typer.Option("--background", help="Queue it as a job.")] = False
    job: Annotated[int | None, typer.Option(help="Run this queued job (for workers).")] = None


def with_option_groups(command: Callable[..., None]) -> Callable[..., None]:
    """The command as typer takes it: in place of a parameter that is a dataclass, an option for each of its fields.

    Options stand in the order of parameters and fields. Other parameters are passed on as they are.
    """
    # With extras, or the typer.Option inside Annotated is lost, and with it names and help.
    type_hints = get_type_hints(command, include_extras=True)
    group_types: dict[str, Any] = {}
    options: list[inspect.Parameter] = []
    for parameter in inspect.signature(command).parameters.values():
        parameter_type = type_hints[parameter.name]
        if is_dataclass(parameter_type):
            group_types[parameter.name] = parameter_type
            options += _field_options(parameter_type)
        else:
            # By keyword only: options without a default may then stand behind others that have one.
            options.append(parameter.replace(kind=parameter.KEYWORD_ONLY, annotation=parameter_type))

    @wraps(command)
    def flat_command(**option_values: Any) -> None:
        groups = {
            parameter_name: group_type(
                **{group_field.name: option_values.pop(group_field.name) for group_field in fields(group_type)}
            )
            for parameter_name, group_type in group_types.items()
        }
        command(**groups, **option_values)

    # typer reads the options from the signature, and `wraps` has just given it that of the grouped command.
    vars(flat_command)["__signature__"] = inspect.Signature(options)
    flat_command.__annotations__ = {option.name: option.annotation for option in options}
    return flat_command


def _field_options(group_type: Any) -> list[inspect.Parameter]:
    type_hints = get_type_hints(group_type, include_extras=True)
    return [
        inspect.Parameter(
            group_field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=_default(group_field),
            annotation=type_hints[group_field.name],
        )
        for group_field in fields(group_type)
    ]


def _default(group_field: Field[Any]) -> Any:
    # An empty default makes the option a required one.
    return inspect.Parameter.empty if group_field.default is MISSING else group_field.default
