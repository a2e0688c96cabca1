"""`import`, `export`, `seed` and `compose`: greetings, pairs and labels in and out."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from backend.cli.output import JsonOption, print_result
from backend.core.errors import UserError
from backend.corpus.importing import ImportRefused
from backend.corpus.records import ImportReport
from backend.corpus.service import CorpusService
from backend.services import open_services
from backend.starter.bank import load_bank
from backend.starter.compose import CORPUS_SEED, ROW_COUNT, compose_rows

# A file of the wrong form has an error in every line; all of them are in the JSON.
_SHOWN_ERRORS = 10
_LONG_FILE_BYTES = 5_000_000  # bytes from which a progress line is worth its place

FilesArgument = Annotated[list[Path], typer.Argument(metavar="FILE…", help="Files to import.", show_default=False)]
DatasetOption = Annotated[str | None, typer.Option("--dataset", help="Data set; by default the file's name.")]
KindOption = Annotated[str | None, typer.Option("--kind", help="What the file holds, where it cannot be told.")]
SkipBadOption = Annotated[bool, typer.Option("--skip-bad", help="Store the good rows of a file with bad ones.")]
MapOption = Annotated[list[str] | None, typer.Option("--map", metavar="FIELD=COLUMN", help="May be repeated.")]


def register(cli_app: typer.Typer) -> None:
    """Add the commands to the application."""
    cli_app.command("import")(import_files)
    cli_app.command("export")(export)
    cli_app.command("seed")(seed_corpus)
    cli_app.command("compose")(compose_file)


def import_files(
    file_paths: FilesArgument,
    dataset_name: DatasetOption = None,
    data_kind: KindOption = None,
    skip_bad: SkipBadOption = False,
    map_options: MapOption = None,
    as_json: JsonOption = False,
) -> None:
    """Import greetings, pairs, labels or prompts; the format is recognised by content."""
    column_mapping = dict(_parse_assignment(assignment_text) for assignment_text in map_options or [])
    refusals: list[ImportRefused] = []
    reports: list[ImportReport] = []
    with open_services() as services:
        for file_path in file_paths:
            report_progress = _build_progress_bar() if _is_long_file(file_path) else None
            try:
                import_report = services.corpus.import_file(
                    file_path,
                    dataset=dataset_name,
                    kind=data_kind,
                    skip_bad=skip_bad,
                    mapping=column_mapping,
                    progress=report_progress,
                )
            # One bad file of several must not keep the others out.
            except ImportRefused as refusal:
                refusals.append(refusal)
                import_report = refusal.report
            reports.append(import_report)
    # Where nothing came in, one sentence is the whole result for people; a script gets its object in any
    # case.
    if as_json or len(refusals) < len(file_paths):
        print_result({"files": [_report_to_dict(import_report) for import_report in reports]}, as_json, _format_reports)
    _exit_on_refusals(refusals, len(file_paths))


def _exit_on_refusals(refusals: list[ImportRefused], file_count: int) -> None:
    for refusal in refusals[:-1] if len(refusals) == file_count else refusals:
        print(f"error: {refusal}", file=sys.stderr)
    if len(refusals) == file_count:
        # Nothing done is exit code 2, which main gives to what is raised; part of it done is 1.
        raise refusals[-1]
    if refusals:
        sys.exit(1)


def _parse_assignment(assignment_text: str) -> tuple[str, str]:
    # At the first sign: names of columns may hold another one, names of fields never do.
    field_name, equals_sign, column_name = assignment_text.partition("=")
    if not equals_sign or not field_name.strip() or not column_name:
        raise UserError(
            f"--map {assignment_text} is not of the form FIELD=COLUMN, as in --map prompt=question.",
            f"--map {assignment_text} 的写法不对，应为 字段=列名，例如 --map prompt=question。",
        )
    return field_name.strip(), column_name


def _is_long_file(file_path: Path) -> bool:
    # Only where somebody looks: in a log every step of the bar would be a line.
    return sys.stderr.isatty() and file_path.is_file() and file_path.stat().st_size > _LONG_FILE_BYTES


def _build_progress_bar() -> Callable[[float, str], None]:
    shown_percent = -1

    def show_progress(done_share: float, progress_text: str) -> None:
        nonlocal shown_percent
        # The reader reports every few rows; a hundred lines are enough, and cost nothing beside the import.
        if (percent := int(100 * done_share)) != shown_percent:
            shown_percent = percent
            print(
                # The rest of the line is erased, since the next text may be shorter.
                f"\r\033[K{percent:3d} % {progress_text}",
                end="\n" if done_share >= 1 else "",
                file=sys.stderr,
                flush=True,
            )

    return show_progress


def _report_to_dict(import_report: ImportReport) -> dict[str, Any]:
    return {
        "path": import_report.path,
        "kind": import_report.kind,
        "dataset": import_report.dataset,
        "read": import_report.read,
        "added": import_report.added,
        "duplicate": import_report.duplicate,
        "rejected": import_report.rejected,
        "errors": [{"line": row_error.line, "reason": row_error.reason.en} for row_error in import_report.errors],
    }


def _format_reports(import_fields: dict[str, Any]) -> str:
    return "\n".join(
        output_line for file_report in import_fields["files"] for output_line in _format_file_report(file_report)
    )


def _format_file_report(file_report: dict[str, Any]) -> list[str]:
    heading = (
        f"{file_report['path']} ({file_report['kind'] or 'unknown'}) into {file_report['dataset']}: "
        f"{file_report['read']} read, {file_report['added']} added, "
        f"{file_report['duplicate']} duplicate, {file_report['rejected']} rejected"
    )
    error_lines = [
        # Line 0 stands for the file as a whole.
        f"  line {row_error['line']}: {row_error['reason']}" if row_error["line"] else f"  {row_error['reason']}"
        for row_error in file_report["errors"][:_SHOWN_ERRORS]
    ]
    hidden_count = file_report["rejected"] - _SHOWN_ERRORS
    return [heading, *error_lines, *([f"  and {hidden_count} more"] if hidden_count > 0 else [])]


def export(
    what: Annotated[str, typer.Argument(help="pairs or labels")],
    file_format: Annotated[str, typer.Option("--format", help="trl, sharegpt, csv or parquet")],
    output_path: Annotated[Path, typer.Option("-o", "--output", help="A file, or a folder for one file a split.")],
    dataset_name: Annotated[str | None, typer.Option("--dataset", help="Only what this data set holds.")] = None,
    campaign_name: Annotated[str | None, typer.Option("--campaign", help="Only what this campaign decided.")] = None,
    # Off unless asked for: a pair that only a judge labelled may contradict one that people decided.
    include_panel: Annotated[
        bool, typer.Option("--panel", help="Without a data set: also pairs that only a judge labelled.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Export preference pairs or labels, with splits that share neither a prompt nor a text."""
    with open_services() as services:
        export_report = services.corpus.export(
            what, file_format, output_path, dataset=dataset_name, campaign=campaign_name, panel=include_panel
        )
    export_fields = {
        "path": export_report.path,
        "rows": export_report.rows,
        "splits": export_report.splits,
        "dropped": export_report.dropped,
    }
    print_result(export_fields, as_json, _format_export)


def _format_export(export_fields: dict[str, Any]) -> str:
    split_text = ", ".join(f"{row_count} {group_name}" for group_name, row_count in export_fields["splits"].items())
    dropped_text = ", ".join(
        f"{row_count} {group_name}" for group_name, row_count in export_fields["dropped"].items() if row_count
    )
    return f"{export_fields['path']}: {export_fields['rows']} rows ({split_text})" + (
        f"; left out: {dropped_text}" if dropped_text else ""
    )


def seed_corpus(as_json: JsonOption = False) -> None:
    """Load the seed corpus that comes with Zhufu (nothing happens where it is loaded already)."""
    with open_services() as services:
        # None means that it is loaded already; scripts get the same keys either way.
        import_report = services.corpus.load_seed() or _loaded_seed_report(services.corpus)
    print_result({"files": [_report_to_dict(import_report)]}, as_json, _format_reports)


def _loaded_seed_report(corpus_service: CorpusService) -> ImportReport:
    pair_count = next(dataset_info.pairs for dataset_info in corpus_service.datasets() if dataset_info.name == "seed")
    return ImportReport("data/seed", "seed", "seed", pair_count, 0, pair_count, 0, ())


def compose_file(
    output_path: Annotated[Path, typer.Option("-o", "--out", help="JSON lines: prompt, completion, tags.")],
    rows: Annotated[int, typer.Option(min=1, max=100_000, help="How many.")] = ROW_COUNT,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same rows.")] = CORPUS_SEED,
    as_json: JsonOption = False,
) -> None:
    """Write requests with greetings composed of the clauses in data/starter, as the starter learns them."""
    clause_bank = load_bank()
    composed_rows = compose_rows(clause_bank, rows, seed)
    json_lines = [
        json.dumps(
            {
                "prompt": composed_row.prompt,
                "completion": composed_row.greeting,
                "occasion": composed_row.scene.occasion.name,
                "recipient": composed_row.scene.recipient.tag if composed_row.scene.recipient else None,
                "style": composed_row.scene.style or None,
            },
            # Chinese stays readable in the file, at half the size of its escapes.
            ensure_ascii=False,
        )
        for composed_row in composed_rows
    ]
    try:
        output_path.write_text("".join(f"{json_line}\n" for json_line in json_lines), "utf-8")
    except OSError as error:
        raise UserError(
            f"{output_path} cannot be written ({error.strerror}); choose another file.",
            f"无法写入 {output_path}（{error.strerror}），请换一个文件。",
        ) from error
    print_result(
        {"path": str(output_path), "rows": len(composed_rows), "clauses": clause_bank.count_clauses()},
        as_json,
        _format_summary,
    )


def _format_summary(summary_fields: dict[str, Any]) -> str:
    row_text = f"{summary_fields['rows']:,} requests with a greeting"
    return f"{summary_fields['path']}: {row_text}, from {summary_fields['clauses']:,} clauses"
