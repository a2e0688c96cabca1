"""Models and tokenizers: any base that transformers can load, or the starter, built from a config."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from sqlalchemy import select
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from backend.core.enums import ArtifactKind
from backend.core.errors import UserError
from backend.core.files import write_atomically
from backend.core.folders import build_folder, hold_lock, remove_drafts
from backend.db.job_tables import Artifact, Job
from backend.generation.serving import ARTIFACT_PREFIX, LATEST
from backend.training.messages import STARTER_BUILT
from backend.training.programs import base_files, starter_tokenizer
from backend.training.programs.chat_format import settle_chat_format, stop_at_turn_end
from backend.training.programs.command_line import artifact_query, check_artifact_folder
from backend.training.programs.loading import holds_whole_model, load_or_explain
from backend.training.programs.loading import load_tokenizer as load_tokenizer
from backend.training.programs.merging import is_adapter
from backend.training.programs.precision import build_loading_options
from backend.training.programs.program import TrainingRun
from backend.training.programs.sharding import ZERO_STAGES
from backend.training.programs.starter_tokenizer import NEVER_WRITTEN, train_tokenizer
from backend.training.settings import STARTER, TrainingSettings, check_base
from backend.training.snapshot import DataRow

MIN_TEXTS = 20
# The starter: one or two million parameters with its vocabulary. Bigger is worse in minutes of CPU.
STARTER_SHAPES: dict[str, dict[str, Any]] = {
    "deep": {
        "hidden_size": 160,
        "intermediate_size": 480,
        "num_hidden_layers": 5,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 40,
    },
    "wide": {
        "hidden_size": 128,
        "intermediate_size": 336,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,
        # With the usual .02 so narrow a model first learns for hundreds of steps to speak at all.
        "initializer_range": 0.06,
    },
}


def resolve_base(training_run: TrainingRun[Any], data_rows: Sequence[DataRow], *names: str) -> str:
    """A hub id or folder that `from_pretrained` understands; the starter is built from these rows first.

    Their greetings stand in the fields `names`.

    Notes the parent artifact on the run. Raises UserError for an artifact that is not there (any more).
    """
    requested_base = training_run.settings.base
    if requested_base == STARTER:
        return str(_build_starter(training_run, data_rows, names))
    if requested_base == LATEST or requested_base.startswith(ARTIFACT_PREFIX):
        training_run.parent_artifact, artifact_folder = find_artifact(training_run, requested_base, ArtifactKind.POLICY)
        return _merge_base(training_run, str(artifact_folder))
    check_base(requested_base)
    base_files.check_weight_files(Path(requested_base))
    return _merge_base(training_run, requested_base)


def find_artifact(
    training_run: TrainingRun[Any], requested_artifact: str, artifact_kind: ArtifactKind
) -> tuple[int, Path]:
    """Id and folder of "latest" (of that kind) or "artifact:N". Raises UserError where there is none.

    The latest is what the job made that this one waited for, where that made one of the kind; of a resumed run
    that of its first attempt.
    """
    note_path = training_run.output_folder / f"latest-{artifact_kind.value}.txt"
    if requested_artifact == LATEST and note_path.is_file():
        # A newer one may be there by now, and checkpoints go on from the base that they were trained on.
        requested_artifact = note_path.read_text("utf-8")
    requested_query = artifact_query(requested_artifact, artifact_kind)
    with training_run.open_database().read() as session:
        predecessor_query = select(Job.after_id).where(Job.id == training_run.job_id).scalar_subquery()
        predecessor_artifact = (
            session.scalar(requested_query.where(Artifact.job_id == predecessor_query))
            if requested_artifact == LATEST
            else None
        )
        artifact = predecessor_artifact or session.scalar(requested_query)
    if artifact is None or artifact.kind is not artifact_kind:
        raise UserError(
            f"There is no {artifact_kind.value} “{requested_artifact}”; train one first, or give a hub id or a folder.",
            f"没有找到模型“{requested_artifact}”（{artifact_kind.value}），请先训练，或填写 Hub 上的模型名或文件夹。",
        )
    check_artifact_folder(artifact)
    if requested_artifact == LATEST:
        write_atomically(note_path, f"{ARTIFACT_PREFIX}{artifact.id}")
    return artifact.id, Path(artifact.path)


def load_training_tokenizer(training_run: TrainingRun[Any], base_model: str) -> Any:
    """The tokenizer with the chat template, the thinking and the end token that the settings mean.

    Raises UserError where it reads text as nothing, and for a base without a usable template.
    """
    settings = training_run.settings
    remote_code = base_files.allows_remote_code(base_model, settings)
    tokenizer = load_tokenizer(base_model, settings.revision, remote_code=remote_code)
    settle_chat_format(tokenizer, base_model, settings)
    return tokenizer


def load_policy(training_run: TrainingRun[Any], base_model: str, tokenizer: Any) -> Any:
    """The language model to train, which stops where the tokenizer's turns end."""
    model = load_or_explain(
        base_model,
        lambda: AutoModelForCausalLM.from_pretrained(
            base_model,
            revision=training_run.settings.revision,
            **base_files.safe_loading(base_model, training_run.settings),
            **build_loading_options(training_run),
        ),
    )
    base_files.check_vocabulary(model, tokenizer, base_model)
    stop_at_turn_end(model, tokenizer)
    return model


def load_classifier(training_run: TrainingRun[Any], base_model: str, tokenizer: Any) -> Any:
    """The same body with one fresh output."""
    model = load_or_explain(
        base_model,
        lambda: AutoModelForSequenceClassification.from_pretrained(
            base_model,
            revision=training_run.settings.revision,
            num_labels=1,
            **base_files.safe_loading(base_model, training_run.settings),
            **build_loading_options(training_run),
        ),
    )
    base_files.check_vocabulary(model, tokenizer, base_model)
    # The classifier reads its score at the last token that is no padding, and has to know which are.
    model.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    # Trained whole beside an adapter, whose weights PEFT raises to float32 but not these. (Under ZeRO all weights of a
    # model are of one kind, and it has float32 copies of its own.)
    if training_run.settings.lora_rank and training_run.settings.sharding not in ZERO_STAGES:
        model.score.float()
    return model


def build_lora_config(settings: TrainingSettings, task_type: str) -> LoraConfig | None:
    """The adapter to train; None trains every weight. `task_type` is PEFT's "CAUSAL_LM" or "SEQ_CLS"."""
    if not settings.lora_rank:
        return None
    return LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        # PEFT leaves the output layer out of these, where an adapter would not pay.
        target_modules="all-linear",
        # The fresh output has nothing to adapt from: it is trained and saved in full.
        modules_to_save=["score"] if task_type == "SEQ_CLS" else None,
        task_type=task_type,
    )


def _merge_base(training_run: TrainingRun[Any], base_model: str) -> str:
    """The base itself; of an adapter, the shared folder in which it is merged into its own base."""
    if not is_adapter(base_model):
        return base_model
    # Where runs of earlier versions merged for themselves; their checkpoints were trained on it.
    own_folder = training_run.output_folder / "base"
    if holds_whole_model(own_folder):
        return str(own_folder)
    return str(training_run.merged_models.open(Path(base_model), training_run.output_folder))


def _build_starter(training_run: TrainingRun[Any], data_rows: Sequence[DataRow], text_fields: Sequence[str]) -> Path:
    """A fresh starter in OUT/base. GRPO needs a path, and a resumed run the same tokenizer."""
    starter_folder = training_run.output_folder / "base"
    # The first of several processes builds it, the others wait and find it.
    with hold_lock(training_run.output_folder / "base.lock", while_waiting=training_run.stop_if_requested):
        if not holds_whole_model(starter_folder):
            remove_drafts(starter_folder)
            with build_folder(starter_folder) as draft_folder:
                _write_starter(training_run, data_rows, text_fields, draft_folder)
    return starter_folder


def _write_starter(
    training_run: TrainingRun[Any], data_rows: Sequence[DataRow], text_fields: Sequence[str], draft_folder: Path
) -> None:
    requests = list(dict.fromkeys(data_row["prompt"] for data_row in data_rows))
    greetings = list(dict.fromkeys(data_row[field_name] for data_row in data_rows for field_name in text_fields))
    text_count = len({*requests, *greetings})
    if text_count < MIN_TEXTS:
        raise too_few_rows(training_run, text_count, MIN_TEXTS)
    tokenizer = train_tokenizer(requests, greetings, starter_tokenizer.plan_tokens_of(data_rows))
    tokenizer.save_pretrained(draft_folder)
    torch.manual_seed(training_run.settings.seed)
    model = Qwen3ForCausalLM(_config(tokenizer, training_run.settings.shape))
    model.generation_config.update(
        do_sample=True,
        temperature=0.6,
        top_p=0.8,
        no_repeat_ngram_size=2,  # tokens are sentences and clauses: none twice after the same mark
        repetition_penalty=1.2,
        max_new_tokens=128,
        eos_token_id=tokenizer.eos_token_id,
        suppress_tokens=tokenizer.convert_tokens_to_ids(list(NEVER_WRITTEN)),
    )
    model.save_pretrained(draft_folder)
    parameter_count = sum(weight.numel() for weight in model.parameters())
    training_run.report.log(STARTER_BUILT.fill(parameters_million=parameter_count / 1e6, tokens=len(tokenizer)))


def _config(tokenizer: Any, shape_name: str) -> Qwen3Config:
    return Qwen3Config(
        vocab_size=len(tokenizer),
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        max_position_embeddings=1024,
        # An output matrix of its own would nearly double so small a model: 9,500 tokens × 128 are most of it.
        tie_word_embeddings=True,
        **STARTER_SHAPES[shape_name],
    )


def too_few_rows(training_run: TrainingRun[Any], row_count: int, needed_count: int) -> UserError:
    """Not enough to learn from."""
    data_source = ", ".join(training_run.settings.datasets) or "the database"
    return UserError(
        f"{data_source} holds {row_count} usable training rows for {training_run.program}, "
        f"at least {needed_count} are needed; import or label more.",
        f"{data_source} 中可用于 {training_run.program} 的训练数据只有 {row_count} 条，"
        f"至少需要 {needed_count} 条，请导入或标注更多。",
    )
