"""`judges` and `examples`: list judges, make one, try one on a text; what a panel is shown for a request."""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from backend.cli.option_groups import with_option_groups
from backend.cli.output import JsonOption, list_by_default, print_listing, print_result
from backend.cli.principles_archive import read_principles
from backend.judges.base import JudgeKind, JudgeSpec, Judgment, PairSample, Sample
from backend.judges.ranking import LEAST_PER_CALL, MOST_PER_CALL
from backend.judges.registry import DEFAULT_EXAMPLES, MOST_EXAMPLES, ExampleRequest
from backend.judges.scoring.records import JudgeInfo
from backend.judges.scoring.run import run_blocking
from backend.services import open_services

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the judge.")]


def register(cli_app: typer.Typer) -> None:
    """Add the commands to the application."""
    judges_group = typer.Typer(help="Judges: list them, make one, try one on a text.")
    list_by_default(judges_group, list_judges)
    judges_group.command("list")(list_judges)
    judges_group.command("add")(with_option_groups(add_judge))
    judges_group.command("try")(try_judge)
    cli_app.add_typer(judges_group, name="judges")
    cli_app.command("examples")(find_examples)


def list_judges(as_json: JsonOption = False) -> None:
    """List the judges at every version, the newest first."""
    with open_services() as services:
        judge_rows = [_judge_to_dict(judge_info) for judge_info in services.scoring.catalog.judges()]
    print_listing("judges", judge_rows, as_json, _format_judge, "There are no judges yet.")


@dataclass(frozen=True)
class RankingOptions:
    """How a judge that ranks is asked."""

    both_orders: Annotated[
        bool, typer.Option("--both-orders", help="A ranking asks in both orders and takes the mean.")
    ] = False
    per_call: Annotated[
        int | None,
        typer.Option(min=LEAST_PER_CALL, max=MOST_PER_CALL, help="Greetings that a ranking orders in one call (20)."),
    ] = None


def add_judge(
    *,
    judge_name: NameArgument,
    kind: Annotated[JudgeKind, typer.Option(help="What kind of judge it is.")],
    endpoint: Annotated[str | None, typer.Option(help="Endpoint that answers, by name.")] = None,
    principles: Annotated[Path | None, typer.Option(help="Text file of at most ten principles, one a line.")] = None,
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
    ranking: RankingOptions,
    as_json: JsonOption = False,
) -> None:
    """Make a judge. The same name with other settings is a new version of it."""
    # Settings make the version: an option that was not given must not appear with a default of the day.
    judge_config: dict[str, Any] = {}
    if principles is not None:
        judge_config["principles"] = read_principles(principles)
    if artifact is not None:
        judge_config["path"] = str(artifact)
    if agent:
        judge_config["endpoints"] = dict(agent_option.partition("=")[::2] for agent_option in agent)
    # Of a panel the number is always written down, so that another default later leaves stored panels as they
    # are.
    if kind is JudgeKind.PANEL or examples is not None:
        judge_config["examples"] = DEFAULT_EXAMPLES if examples is None else examples
    if embeddings is not None:
        judge_config["embeddings"] = embeddings
    if ranking.both_orders:
        judge_config["both_orders"] = True
    if ranking.per_call is not None:
        judge_config["per_call"] = ranking.per_call
    with open_services() as services:
        judge_fields = _judge_to_dict(
            services.scoring.catalog.save(JudgeSpec(kind, judge_name, endpoint, judge_config))
        )
    print_result(judge_fields, as_json, _format_judge)


def try_judge(
    judge_name: NameArgument,
    prompt: Annotated[str, typer.Option(help="The request.")],
    greeting: Annotated[str, typer.Option(help="The greeting to judge.")],
    second: Annotated[str | None, typer.Option(help="The other greeting, for a judge that compares.")] = None,
    endpoint: Annotated[str | None, typer.Option(help="Endpoint that answers, by name.")] = None,
    as_json: JsonOption = False,
) -> None:
    """One verdict on a text, shown and not stored."""
    # The sample decides what is asked, and a judge of the other form refuses it with a sentence.
    sample = Sample(prompt, greeting) if second is None else PairSample(prompt, greeting, second)
    with open_services() as services:
        judgment = services.scoring.judge_sample(services.scoring.catalog.resolve(judge_name, endpoint), sample)
    if isinstance(judgment, Judgment):
        verdict_fields: dict[str, Any] = {
            "judge": judge_name,
            "value": judgment.value,
            "reason": judgment.reason,
        }
    else:
        outcome_text = judgment.outcome.value if judgment.outcome else None
        verdict_fields = {
            "judge": judge_name,
            "outcome": outcome_text,
            # Both orders were asked; where they disagree, the outcome alone would hide it.
            "flip": judgment.flip,
            "reasons": list(judgment.reasons),
        }
    print_result({**verdict_fields, "details": judgment.details or {}}, as_json, _format_verdict)


def _judge_to_dict(judge_info: JudgeInfo) -> dict[str, Any]:
    return {
        "id": judge_info.id,
        "name": judge_info.name,
        # A rater of kind judge may come from an import, with nothing known of how it judged.
        "kind": judge_info.kind.value if judge_info.kind else None,
        "version": judge_info.version,
        "newest": judge_info.newest,
        "endpoint": judge_info.endpoint,
        "scored": judge_info.scored,
        "unscored": judge_info.unscored,
        "cost": judge_info.cost,
    }


def _format_judge(judge_fields: dict[str, Any]) -> str:
    older_note = "" if judge_fields["newest"] else "  (older)"
    return (
        f"{judge_fields['name']:<20}  {judge_fields['kind'] or '–':<12}  {judge_fields['version']}  "
        f"scored {judge_fields['scored']:,}, unscored {judge_fields['unscored']:,}, "
        f"cost {judge_fields['cost']:.4f}{older_note}"
    )


def _format_verdict(verdict_fields: dict[str, Any]) -> str:
    if "outcome" in verdict_fields:
        return f"{verdict_fields['outcome'] or 'unscored'}: {'; '.join(verdict_fields['reasons'])}"
    score_text = "unscored" if verdict_fields["value"] is None else f"{verdict_fields['value']:g}"
    return f"{score_text}: {verdict_fields['reason']}"


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
