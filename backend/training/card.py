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

from backend.db.base import now
from backend.db.engine import Database
from backend.db.job_tables import Artifact
from backend.jobs.artifacts import sha256_of
from backend.jobs.vocabulary import ArtifactKind
from backend.training_runs.data import Snapshot

if TYPE_CHECKING:
    from backend.training.program import Run

Kind = ArtifactKind
LIBRARIES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "tokenizers")


def write(run: "Run[Any]", kind: Kind, metrics: dict[str, Any]) -> None:
    """Card and README into the artifact folder; a row where the run is a job."""
    facts = _facts(run, kind, metrics)
    text = json.dumps(facts, ensure_ascii=False, indent=1, allow_nan=False)
    (run.artifact / "artifact.json").write_text(text, "utf-8")
    (run.artifact / "README.md").write_text(_readme(facts), "utf-8")
    if run.job_id is not None:
        _register(run, kind, facts)


def loggers(out: Path) -> list[str]:
    """Curves for TensorBoard or trackio too, where they are installed."""
    os.environ.setdefault("TENSORBOARD_LOGGING_DIR", str(out / "tensorboard"))
    return [name for name in ("tensorboard", "trackio") if importlib.util.find_spec(name)]


def _facts(run: "Run[Any]", kind: Kind, metrics: dict[str, Any]) -> dict[str, Any]:
    snapshot = run.snapshot
    return {
        "kind": kind.value,
        "name": name_of(run),
        "program": run.kind,
        "created": now().isoformat(timespec="seconds"),
        "job": run.job_id,
        "base": run.settings.base,
        "parent": run.parent_artifact,
        "data": {"hash": snapshot.hash, "folder": str(snapshot.folder), "files": snapshot.manifest["files"]},
        "settings": run.settings.model_dump(mode="json"),
        "seed": run.settings.seed,
        "versions": {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES},
        "machine": _machine(run.device),
        "seconds": round(time.monotonic() - run.started, 1),
        "metrics": metrics,
    }


def name_of(run: "Run[Any]") -> str:
    """What the run is called where people choose among several."""
    return run.settings.name or f"{run.kind}-{run.job_id or run.out.name}"


def _machine(device: str) -> str:
    if device == "cuda":
        return f"{torch.cuda.device_count()} × {torch.cuda.get_device_name(0)}"
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"


def _register(run: "Run[Any]", kind: Kind, facts: dict[str, Any]) -> None:
    database = run.database()
    _register_snapshot(database, run.snapshot, run.job_id)
    with database.write() as session:
        session.add(
            Artifact(
                kind=kind,
                name=facts["name"][:120],
                path=str(run.artifact),
                sha256=sha256_of(run.artifact),
                parent_id=run.parent_artifact,
                job_id=run.job_id,
                data_hash=run.snapshot.hash,
                config=facts["settings"],
                metrics=facts["metrics"],
            )
        )


def _register_snapshot(database: Database, snapshot: Snapshot, job_id: int | None) -> None:
    kind, sha = Kind.DATASET_SNAPSHOT, snapshot.hash
    with database.write() as session:
        known = select(Artifact.id).where(Artifact.kind == kind, Artifact.sha256 == sha)
        if session.scalar(known.limit(1)) is None:
            session.add(
                Artifact(
                    kind=kind,
                    name=f"snapshot-{sha[:12]}",
                    path=str(snapshot.folder),
                    sha256=sha,
                    job_id=job_id,
                    data_hash=sha,
                    config=snapshot.manifest["options"],
                    metrics={name: each["rows"] for name, each in snapshot.manifest["files"].items()},
                )
            )


def _readme(facts: dict[str, Any]) -> str:
    lines = [f"# {facts['name']}", "", f"A {facts['kind']} trained by Zhufu's `{facts['program']}`.", ""]
    rows = {
        "base": facts["base"],
        "parent artifact": facts["parent"],
        "data": facts["data"]["hash"],
        "seed": facts["seed"],
        "machine": facts["machine"],
        "seconds": facts["seconds"],
        "created": facts["created"],
        **{f"{name} version": number for name, number in facts["versions"].items()},
    }
    for title, table in (("Origin", rows), ("Metrics", facts["metrics"]), ("Settings", facts["settings"])):
        lines += [f"## {title}", "", "| | |", "|---|---|"]
        lines += [f"| {name} | {_cell(value)} |" for name, value in table.items()] + [""]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)
