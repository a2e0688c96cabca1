"""`import`, `export` and `seed`: greetings, pairs and labels in and out."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from backend.cli.output import Json, emit
from backend.corpus.importing import ImportRefused
from backend.corpus.service import CorpusService
from backend.errors import UserError
from backend.records import ImportReport
from backend.services import open_services

_SHOWN_ERRORS = 10
_LONG = 5_000_000  # bytes from which a progress line is worth its place

Files = Annotated[list[Path], typer.Argument(metavar="FILE…", help="Files to import.", show_default=False)]
DatasetName = Annotated[str | None, typer.Option("--dataset", help="Data set; by default the file's name.")]
Kind = Annotated[str | None, typer.Option("--kind", help="What the file holds, where it cannot be told.")]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Store the good rows of a file with bad ones.")]
Maps = Annotated[list[str] | None, typer.Option("--map", metavar="FIELD=COLUMN", help="May be repeated.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command("import")(import_files)
    app.command("export")(export)
    app.command("seed")(seed)


def import_files(
    files: Files,
    dataset: DatasetName = None,
    kind: Kind = None,
    skip_bad: SkipBad = False,
    maps: Maps = None,
    as_json: Json = False,
) -> None:
    """Import greetings, pairs, labels or prompts; the format is recognised by content."""
    mapping = dict(_assignment(text) for text in maps or [])
    refusals: list[ImportRefused] = []
    reports: list[ImportReport] = []
    with open_services() as services:
        for file in files:
            progress = _progress_bar() if _is_long(file) else None
            try:
                report = services.corpus.import_file(
                    file, dataset=dataset, kind=kind, skip_bad=skip_bad, mapping=mapping, progress=progress
                )
            except ImportRefused as refusal:
                refusals.append(refusal)
                report = refusal.report
            reports.append(report)
    if as_json or len(refusals) < len(files):
        emit({"files": [_plain(report) for report in reports]}, as_json, _lines)
    _end(refusals, len(files))


def _end(refusals: list[ImportRefused], files: int) -> None:
    for refusal in refusals[:-1] if len(refusals) == files else refusals:
        print(f"error: {refusal}", file=sys.stderr)
    if len(refusals) == files:
        raise refusals[-1]
    if refusals:
        sys.exit(1)


def _assignment(text: str) -> tuple[str, str]:
    field, sign, column = text.partition("=")
    if not sign or not field.strip() or not column:
        raise UserError(
            f"--map {text} is not of the form FIELD=COLUMN, as in --map prompt=question.",
            f"--map {text} 的写法不对，应为 字段=列名，例如 --map prompt=question。",
        )
    return field.strip(), column


def _is_long(file: Path) -> bool:
    return sys.stderr.isatty() and file.is_file() and file.stat().st_size > _LONG


def _progress_bar() -> Callable[[float, str], None]:
    shown = -1

    def show(share: float, text: str) -> None:
        nonlocal shown
        if (percent := int(100 * share)) != shown:
            shown = percent
            print(
                f"\r\033[K{percent:3d} % {text}", end="\n" if share >= 1 else "", file=sys.stderr, flush=True
            )

    return show


def _plain(report: ImportReport) -> dict[str, Any]:
    return {
        "path": report.path,
        "kind": report.kind,
        "dataset": report.dataset,
        "read": report.read,
        "added": report.added,
        "duplicate": report.duplicate,
        "rejected": report.rejected,
        "errors": [{"line": error.line, "reason": error.reason.en} for error in report.errors],
    }


def _lines(result: dict[str, Any]) -> str:
    return "\n".join(line for file in result["files"] for line in _file_lines(file))


def _file_lines(file: dict[str, Any]) -> list[str]:
    head = (
        f"{file['path']} ({file['kind'] or 'unknown'}) into {file['dataset']}: {file['read']} read, "
        f"{file['added']} added, {file['duplicate']} duplicate, {file['rejected']} rejected"
    )
    errors = [
        f"  line {error['line']}: {error['reason']}" if error["line"] else f"  {error['reason']}"
        for error in file["errors"][:_SHOWN_ERRORS]
    ]
    more = file["rejected"] - _SHOWN_ERRORS
    return [head, *errors, *([f"  and {more} more"] if more > 0 else [])]


def export(
    what: Annotated[str, typer.Argument(help="pairs or labels")],
    fmt: Annotated[str, typer.Option("--format", help="trl, sharegpt, csv or parquet")],
    output: Annotated[Path, typer.Option("-o", "--output", help="A file, or a folder for one file a split.")],
    dataset: Annotated[str | None, typer.Option("--dataset", help="Only what this data set holds.")] = None,
    campaign: Annotated[
        str | None, typer.Option("--campaign", help="Only what this campaign decided.")
    ] = None,
    panel: Annotated[
        bool, typer.Option("--panel", help="Without a data set: also pairs that only a judge labelled.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Export preference pairs or labels, with splits that share neither a prompt nor a text."""
    with open_services() as services:
        report = services.corpus.export(what, fmt, output, dataset=dataset, campaign=campaign, panel=panel)
    result = {
        "path": report.path,
        "rows": report.rows,
        "splits": report.splits,
        "dropped": report.dropped,
    }
    emit(result, as_json, _export_lines)


def _export_lines(result: dict[str, Any]) -> str:
    splits = ", ".join(f"{count} {name}" for name, count in result["splits"].items())
    dropped = ", ".join(f"{count} {name}" for name, count in result["dropped"].items() if count)
    return f"{result['path']}: {result['rows']} rows ({splits})" + (
        f"; left out: {dropped}" if dropped else ""
    )


def seed(as_json: Json = False) -> None:
    """Load the seed corpus that comes with Zhufu (nothing happens where it is loaded already)."""
    with open_services() as services:
        report = services.corpus.load_seed() or _loaded_already(services.corpus)
    emit({"files": [_plain(report)]}, as_json, _lines)


def _loaded_already(corpus: CorpusService) -> ImportReport:
    pairs = next(each.pairs for each in corpus.datasets() if each.name == "seed")
    return ImportReport("data/seed", "seed", "seed", pairs, 0, pairs, 0, ())
