"""`python -m backend.training.programs.export`: a trained policy as files that other programs run.

    python -m backend.training.programs.export --job 7
    python -m backend.training.programs.export --out DIR [--set key=value …]

Everything is written into a draft folder and appears under its name when it is whole.
"""

import argparse
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

from transformers import AutoConfig
from transformers.utils import logging as hub_logging

from backend.core.enums import ArtifactKind
from backend.core.errors import UserError
from backend.core.folders import build_folder, remove_drafts
from backend.core.settings import Settings
from backend.db.engine import Database
from backend.db.migrate import migrate
from backend.generation.serving import ARTIFACT_PREFIX, LATEST
from backend.jobs.report import STOPPED, JobReport
from backend.training.exporting import EXPORT_KIND, ExportSettings, missing_policy, no_writer, parse_export_settings
from backend.training.messages import (
    EXPORT_NUMBERS_DIFFER,
    EXPORT_PUSHED,
    EXPORT_UPLOADING,
    EXPORT_WRITING,
    EXPORTED,
    MERGING,
)
from backend.training.programs import hub_upload, ollama_files
from backend.training.programs.checkpoints import TrainingStopped
from backend.training.programs.command_line import artifact_query, build_parser, check_artifact_folder, read_job
from backend.training.programs.foreseen_errors import explaining_errors
from backend.training.programs.loading import holds_whole_model, load_or_explain, load_tokenizer
from backend.training.programs.merging import ADAPTER_CONFIG, is_adapter, merge_adapter, read_base_name

CONVERTER = "convert_hf_to_gguf.py"
CARD_FILE, FACTS_FILE, GENERATION_FILE = "README.md", "artifact.json", "generation_config.json"
# What a model folder holds for others; the rest of an artifact is the project's own.
_MODEL_FILES = (
    "*.safetensors",
    "model.safetensors.index.json",
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
)
_ODD_CHARACTERS = re.compile(r"[^\w.-]+")


@dataclass(frozen=True)
class PolicyFolder:
    """A policy to export: its folder, and what it is called."""

    folder: Path
    name: str

    @property
    def facts(self) -> dict[str, Any]:
        """What its training noted; empty where nothing is (any more)."""
        return _read_json(self.folder / FACTS_FILE)


@dataclass(frozen=True)
class WholeModel:
    """A model folder without adapters, and what transformers reads of it."""

    folder: Path
    config: Any
    tokenizer: Any
    generation_settings: Mapping[str, Any]

    @classmethod
    def load(cls, folder: Path) -> "WholeModel":
        """Everything but the weights. Raises UserError for a folder that cannot be loaded."""
        config = load_or_explain(str(folder), lambda: AutoConfig.from_pretrained(folder, trust_remote_code=False))
        return cls(folder, config, load_tokenizer(str(folder)), _read_json(folder / GENERATION_FILE))


def export_policy(settings: ExportSettings, policy: PolicyFolder, destination: Path, report: JobReport) -> Path:
    """Write the files into `destination`, which must be empty or absent, and return it.

    Raises UserError for what a person can mend, TrainingStopped once it is asked to stop.
    """
    _check_destination(destination)
    # What a killed export of the same place has left.
    remove_drafts(destination)
    with ExitStack() as exit_stack:
        files_folder = exit_stack.enter_context(build_folder(destination))
        model_folder = policy.folder
        if is_adapter(policy.folder):
            report.progress(0.02, MERGING.fill())
            merge_parent = TemporaryDirectory(".part", f".{destination.name}.", destination.parent)
            model_folder = Path(exit_stack.enter_context(merge_parent)) / "merged"
            merge_adapter(policy.folder, model_folder, lambda: _stop_if_requested(report))
        if not holds_whole_model(model_folder):
            raise UserError(
                f"The weights in {model_folder} are missing, torn or no safetensors; train the model again.",
                f"{model_folder} 中的权重缺失、不完整或不是 safetensors，请重新训练。",
            )
        notes = _write_files(settings, policy, model_folder, files_folder, report)
        _write_readme(settings, policy, files_folder, notes)
    return destination


def find_policy_folder(database: Database, requested_policy: str) -> PolicyFolder:
    """The policy of "latest", "artifact:N" or a folder. Raises UserError for what is gone or does not write."""
    if requested_policy == LATEST or requested_policy.startswith(ARTIFACT_PREFIX):
        policy = _find_artifact_folder(database, requested_policy)
    else:
        folder = Path(requested_policy).expanduser().resolve()
        run_folder = folder.parent if folder.name == "artifact" else folder
        policy = PolicyFolder(folder, run_folder.name)
    config_files = [policy.folder / file_name for file_name in ("config.json", ADAPTER_CONFIG)]
    if not any(config_file.is_file() for config_file in config_files):
        raise missing_policy(requested_policy)
    config, adapter_config = (_read_json(config_file) for config_file in config_files)
    architectures = " ".join(config.get("architectures") or ())
    if "Classification" in architectures or adapter_config.get("task_type") == "SEQ_CLS":
        raise no_writer(f"“{requested_policy}”", f"“{requested_policy}”")
    return policy


def _find_artifact_folder(database: Database, requested_policy: str) -> PolicyFolder:
    with database.read() as session:
        artifact = session.scalar(artifact_query(requested_policy, ArtifactKind.POLICY))
    if artifact is None:
        raise missing_policy(requested_policy)
    if artifact.kind is not ArtifactKind.POLICY:
        raise no_writer(f"artifact {artifact.id}", f"产物 {artifact.id}")
    check_artifact_folder(artifact)
    return PolicyFolder(Path(artifact.path), artifact.name)


def _check_destination(destination: Path) -> None:
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise UserError(
            f"{destination} is not an empty folder; name another one for out.",
            f"{destination} 不是空文件夹，请为 out 换一个文件夹。",
        )
    destination.parent.mkdir(parents=True, exist_ok=True)


def _write_files(
    settings: ExportSettings, policy: PolicyFolder, model_folder: Path, files_folder: Path, report: JobReport
) -> list[str]:
    """The model's files in the wanted form; sentences for its README."""
    if settings.to == "safetensors":
        stored_files = [file_path for pattern in _MODEL_FILES for file_path in sorted(model_folder.glob(pattern))]
        _check_space(files_folder.parent, sum(file_path.stat().st_size for file_path in stored_files))
        for file_number, file_path in enumerate(stored_files, start=1):
            shutil.copyfile(file_path, files_folder / file_path.name)
            _report_written(report, file_number / len(stored_files))
        return []
    return _write_gguf(settings, policy, model_folder, files_folder, report)


def _write_gguf(
    settings: ExportSettings, policy: PolicyFolder, model_folder: Path, files_folder: Path, report: JobReport
) -> list[str]:
    if importlib.util.find_spec("gguf") is None:
        raise UserError(
            f"to = {settings.to} needs the package gguf; run `pip install gguf`, or export to safetensors.",
            f"to = {settings.to} 需要 gguf 包，请运行 `pip install gguf`，或改为导出 safetensors。",
        )
    from backend.training.programs.gguf_model import is_known

    whole_model = WholeModel.load(model_folder)
    gguf_path = files_folder / ollama_files.GGUF_FILE
    if not is_known(whole_model.config) and (converter := shutil.which(CONVERTER)):
        _run_converter(converter, model_folder, gguf_path, settings.precision)
        chat_template, notes = str(whole_model.tokenizer.chat_template or ""), []
    else:
        chat_template, notes = _write_known_gguf(settings, policy, whole_model, gguf_path, report)
    if settings.to == "ollama":
        (files_folder / ollama_files.MODELFILE).write_text(_build_modelfile(whole_model, chat_template), "utf-8")
    return notes


def _write_known_gguf(
    settings: ExportSettings, policy: PolicyFolder, whole_model: WholeModel, gguf_path: Path, report: JobReport
) -> tuple[str, list[str]]:
    """Write a GGUF by gguf's own writer; its chat template, and sentences for the README."""
    from backend.training.programs.gguf_model import GgufModel
    from backend.training.programs.gguf_tokenizer import read_tokenizer

    model = GgufModel(whole_model.folder, whole_model.config, export_name(settings, policy))
    expressed = read_tokenizer(whole_model.folder, whole_model.tokenizer, model.row_count)
    precision = model.choose_precision(settings.precision)
    _check_space(gguf_path.parent.parent, model.count_bytes(precision))
    model.write(
        gguf_path, expressed, precision, whole_model.generation_settings, lambda share: _report_written(report, share)
    )
    if not (differing := expressed.differing_texts):
        return expressed.chat_template, expressed.notes
    report.log(EXPORT_NUMBERS_DIFFER.fill(count=len(differing), examples=", ".join(differing[:5])))
    note = f"These numbers are read digit by digit, which it did not learn: {', '.join(differing[:50])}."
    return expressed.chat_template, [*expressed.notes, note]


def _build_modelfile(whole_model: WholeModel, chat_template: str) -> str:
    from backend.training.programs.gguf_tokenizer import adds_bos

    tokenizer = whole_model.tokenizer
    parts = ollama_files.read_turn_parts(chat_template, tokenizer.special_tokens_map)
    # Ollama begins with this token by itself where the GGUF says so.
    if parts is not None and adds_bos(tokenizer):
        parts = parts.without_start(tokenizer.bos_token)
    return ollama_files.build_modelfile(
        parts,
        _stop_texts(tokenizer, whole_model.generation_settings),
        whole_model.generation_settings,
        whole_model.config.max_position_embeddings,
    )


def export_name(settings: ExportSettings, policy: PolicyFolder) -> str:
    """What the model is called where it goes."""
    return settings.name or f"zhufu-{_ODD_CHARACTERS.sub('-', policy.name).strip('-') or 'policy'}"


def _run_converter(converter: str, model_folder: Path, gguf_path: Path, precision: str) -> None:
    options = ["--outfile", str(gguf_path), "--outtype", precision]
    # The interpreter that runs this program has the packages that the converter needs.
    completed = subprocess.run(
        [sys.executable, converter, str(model_folder), *options], capture_output=True, text=True, check=False
    )
    if completed.returncode or not gguf_path.is_file():
        last_line = (completed.stderr.strip() or completed.stdout.strip() or "no output").splitlines()[-1][:200]
        raise UserError(
            f"llama.cpp's converter could not write this model ({last_line}); export to safetensors instead.",
            f"llama.cpp 的转换程序无法写出这个模型（{last_line}），请改为导出 safetensors。",
        )


def _stop_texts(tokenizer: Any, generation_settings: Mapping[str, Any]) -> list[str]:
    """The texts of the tokens that end a reply."""
    end_ids = generation_settings.get("eos_token_id") or []
    end_ids = [tokenizer.eos_token_id, *(end_ids if isinstance(end_ids, list) else [end_ids])]
    unique_ids = dict.fromkeys(token_id for token_id in end_ids if token_id is not None)
    return [tokenizer.convert_ids_to_tokens(token_id) for token_id in unique_ids]


def _check_space(folder: Path, needed_bytes: int) -> None:
    free_bytes = shutil.disk_usage(folder).free
    if needed_bytes > free_bytes:
        raise UserError(
            f"The export needs {needed_bytes / 1e9:.2g} GB, and the disk of {folder} has {free_bytes / 1e9:.2g} GB "
            "left; free some space or name another folder for out.",
            f"导出需要 {needed_bytes / 1e9:.2g} GB，{folder} 所在磁盘只剩 {free_bytes / 1e9:.2g} GB，"
            "请清理空间，或为 out 换一个文件夹。",
        )


def _report_written(report: JobReport, written_share: float) -> None:
    """Between two files or tensors: how far it is, and whether to stop."""
    report.progress(0.1 + 0.85 * written_share, EXPORT_WRITING.fill(percent=round(100 * written_share)))
    _stop_if_requested(report)


def _stop_if_requested(report: JobReport) -> None:
    if report.stop_requested():
        raise TrainingStopped


def _write_readme(settings: ExportSettings, policy: PolicyFolder, files_folder: Path, notes: list[str]) -> None:
    card_path = policy.folder / CARD_FILE
    # Without facts of ours the card is a form of PEFT's that nobody filled in.
    training_card = card_path.read_text("utf-8") if policy.facts and card_path.is_file() else ""
    base_model = str(policy.facts.get("base") or read_base_name(policy.folder) or "")
    # The hub links to a base of its own; a folder of this machine is nobody else's business.
    is_hub_id = base_model.count("/") == 1 and not Path(base_model).expanduser().exists() and base_model[0].isalnum()
    readme = ollama_files.build_readme(
        export_name(settings, policy), settings.to, base_model if is_hub_id else None, notes, training_card
    )
    (files_folder / CARD_FILE).write_text(readme, "utf-8")


def _read_json(file_path: Path) -> dict[str, Any]:
    return dict(json.loads(file_path.read_text("utf-8"))) if file_path.is_file() else {}


def main() -> NoReturn:
    """Exits 0, 2 (a sentence on stderr), 75 (asked to stop; nothing is left) or 1."""
    options = build_parser("export").parse_args()
    try:
        app_settings = Settings.load()
        with closing(Database(app_settings.url)) as database:
            if options.job is None:
                migrate(database)
            _run_export(options, app_settings, database)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(2)
    except TrainingStopped:
        print("stopped as requested; nothing is left behind", flush=True)
        sys.exit(STOPPED)
    sys.exit(0)


def _run_export(options: argparse.Namespace, app_settings: Settings, database: Database) -> None:
    hub_logging.disable_progress_bar()
    with JobReport(database if options.job is not None else None, options.job) as report:
        settings, destination = _resolve_settings(options, app_settings, database)
        with explaining_errors(destination.parent):
            # Before hours of writing: an upload without a token would only fail at their end.
            hub_token = hub_upload.require_token() if settings.push else ""
            policy = find_policy_folder(database, settings.artifact)
            export_policy(settings, policy, destination, report)
            report.log(EXPORTED.fill(folder=str(destination)))
            if settings.push:
                report.progress(0.96, EXPORT_UPLOADING.fill(repository=settings.push))
                address = hub_upload.upload_folder(destination, settings.push, hub_token, public=settings.public)
                report.log(EXPORT_PUSHED.fill(address=address))
            report.progress(1.0, EXPORTED.fill(folder=str(destination)))


def _resolve_settings(
    options: argparse.Namespace, app_settings: Settings, database: Database
) -> tuple[ExportSettings, Path]:
    if options.job is None:
        setting_values = dict(assignment_text.partition("=")[::2] for assignment_text in options.set)
        return parse_export_settings(setting_values), options.out.resolve()
    job_config, run_folder = read_job(database, options.job, EXPORT_KIND, app_settings.home)
    settings = parse_export_settings(job_config)
    return settings, Path(settings.out).expanduser().resolve() if settings.out else run_folder / "export"


if __name__ == "__main__":
    main()
