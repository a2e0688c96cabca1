"""What a finished run leaves behind besides the model: `artifact.json`, a README, and the artifact's row."""

import importlib.util
import json
import os
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from sqlalchemy import select

from backend.core.enums import ArtifactKind
from backend.db.base import utc_now
from backend.db.engine import Database
from backend.db.job_tables import Artifact
from backend.jobs.service import compute_sha256
from backend.training.snapshot import Snapshot

# At run time the program imports this module, and the two would import each other.
if TYPE_CHECKING:
    from backend.training.programs.program import TrainingRun

OutputKind = ArtifactKind
LISTED_LIBRARIES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "tokenizers")


def write_card(training_run: "TrainingRun[Any]", artifact_kind: OutputKind, metrics: dict[str, Any]) -> None:
    """Card and README into the artifact folder; a row where the run is a job."""
    card_facts = _collect_facts(training_run, artifact_kind, metrics)
    # NaN is no JSON: others have to be able to read the card.
    card_text = json.dumps(card_facts, ensure_ascii=False, indent=1, allow_nan=False)
    (training_run.artifact_folder / "artifact.json").write_text(card_text, "utf-8")
    (training_run.artifact_folder / "README.md").write_text(_format_readme(card_facts), "utf-8")
    if training_run.job_id is not None:
        _register_artifact(training_run, artifact_kind, card_facts)


def is_registered(training_run: "TrainingRun[Any]") -> bool:
    """Whether an earlier attempt of this job has finished its artifact: the row is written last."""
    if training_run.job_id is None or not training_run.artifact_folder.is_dir():
        return False
    artifact_query = select(Artifact.id).where(
        Artifact.job_id == training_run.job_id, Artifact.path == str(training_run.artifact_folder)
    )
    with training_run.open_database().read() as session:
        return session.scalar(artifact_query.limit(1)) is not None


def find_loggers(output_folder: Path) -> list[str]:
    """Curves for TensorBoard or trackio too, where they are installed."""
    os.environ.setdefault("TENSORBOARD_LOGGING_DIR", str(output_folder / "tensorboard"))
    return [logger_name for logger_name in ("tensorboard", "trackio") if importlib.util.find_spec(logger_name)]


def _collect_facts(
    training_run: "TrainingRun[Any]", artifact_kind: OutputKind, metrics: dict[str, Any]
) -> dict[str, Any]:
    snapshot = training_run.snapshot
    return {
        "kind": artifact_kind.value,
        "name": run_name(training_run),
        "program": training_run.program,
        "created": utc_now().isoformat(timespec="seconds"),
        "job": training_run.job_id,
        "base": training_run.settings.base,
        "parent": training_run.parent_artifact,
        "data": {"hash": snapshot.hash, "folder": str(snapshot.folder), "files": snapshot.manifest["files"]},
        "settings": training_run.settings.model_dump(mode="json"),
        "seed": training_run.settings.seed,
        "versions": {"python": platform.python_version()}
        | {library_name: version(library_name) for library_name in LISTED_LIBRARIES},
        "machine": _describe_machine(training_run.device),
        "seconds": round(time.monotonic() - training_run.started_at, 1),
        "metrics": metrics,
    }


def run_name(training_run: "TrainingRun[Any]") -> str:
    """What the run is called where people choose among several."""
    return (
        training_run.settings.name or f"{training_run.program}-{training_run.job_id or training_run.output_folder.name}"
    )


def _describe_machine(device: str) -> str:
    if device == "cuda":
        return f"{torch.cuda.device_count()} × {torch.cuda.get_device_name(0)}"
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"


def _register_artifact(training_run: "TrainingRun[Any]", artifact_kind: OutputKind, card_facts: dict[str, Any]) -> None:
    database = training_run.open_database()
    _register_snapshot(database, training_run.snapshot, training_run.job_id)
    # Before the transaction: gigabytes are read, and nobody else could write meanwhile.
    artifact_hash = compute_sha256(training_run.artifact_folder)
    with database.write() as session:
        session.add(
            Artifact(
                kind=artifact_kind,
                # The width of the column; PostgreSQL refuses longer ones, after hours of training.
                name=card_facts["name"][:120],
                path=str(training_run.artifact_folder),
                sha256=artifact_hash,
                parent_id=training_run.parent_artifact,
                job_id=training_run.job_id,
                data_hash=training_run.snapshot.hash,
                config=card_facts["settings"],
                metrics=card_facts["metrics"],
            )
        )


def _register_snapshot(database: Database, snapshot: Snapshot, job_id: int | None) -> None:
    artifact_kind, snapshot_hash = OutputKind.DATASET_SNAPSHOT, snapshot.hash
    with database.write() as session:
        artifact_query = select(Artifact.id).where(Artifact.kind == artifact_kind, Artifact.sha256 == snapshot_hash)
        # Trainings on the same data share one row, as they share one folder.
        if session.scalar(artifact_query.limit(1)) is None:
            session.add(
                Artifact(
                    kind=artifact_kind,
                    name=f"snapshot-{snapshot_hash[:12]}",
                    path=str(snapshot.folder),
                    sha256=snapshot_hash,
                    job_id=job_id,
                    data_hash=snapshot_hash,
                    config=snapshot.manifest["options"],
                    metrics={
                        file_name: file_facts["rows"] for file_name, file_facts in snapshot.manifest["files"].items()
                    },
                )
            )


def _format_readme(card_facts: dict[str, Any]) -> str:
    readme_lines = [
        f"# {card_facts['name']}",
        "",
        f"A {card_facts['kind']} trained by Zhufu's `{card_facts['program']}`.",
        "",
    ]
    origin_facts = {
        "base": card_facts["base"],
        "parent artifact": card_facts["parent"],
        "data": card_facts["data"]["hash"],
        "seed": card_facts["seed"],
        "machine": card_facts["machine"],
        "seconds": card_facts["seconds"],
        "created": card_facts["created"],
        **{f"{fact_name} version": library_version for fact_name, library_version in card_facts["versions"].items()},
    }
    for section_title, section_facts in (
        ("Origin", origin_facts),
        ("Metrics", card_facts["metrics"]),
        ("Settings", card_facts["settings"]),
    ):
        readme_lines += [f"## {section_title}", "", "| | |", "|---|---|"]
        readme_lines += [
            f"| {fact_name} | {_format_cell(fact_value)} |" for fact_name, fact_value in section_facts.items()
        ] + [""]
    return "\n".join(readme_lines)


def _format_cell(cell_value: Any) -> str:
    if isinstance(cell_value, float):
        return f"{cell_value:.6g}"
    return json.dumps(cell_value, ensure_ascii=False) if isinstance(cell_value, dict | list) else str(cell_value)
