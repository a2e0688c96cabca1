"""Models and tokenizers: any base that transformers can load, or the starter, built from a config."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel
from sqlalchemy import select
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from backend.db.job_tables import Artifact, Job
from backend.errors import UserError
from backend.jobs.vocabulary import ArtifactKind
from backend.text import number_of
from backend.training import plan
from backend.training.program import Run
from backend.training.starter_tokenizer import NEVER_WRITTEN, train_tokenizer
from backend.training_runs.config import ARTIFACT, LATEST, STARTER, TrainingSettings, check_base
from backend.training_runs.data import Row

PROBE = "祝您生日快乐 🎂\n"
ENOUGH_TEXTS = 20
SHAPES: dict[str, dict[str, Any]] = {
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
        "intermediate_size": 384,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,
        # With the usual .02 so narrow a model first learns for hundreds of steps to speak at all.
        "initializer_range": 0.06,
    },
}
"""The starter: one or two million parameters with its vocabulary. Bigger is worse in minutes of CPU."""


def base_of(run: Run[Any], rows: Sequence[Row], *names: str) -> str:
    """A hub id or folder that `from_pretrained` understands; the starter is built from these rows first.

    Their greetings stand in the fields `names`.

    Notes the parent artifact on the run. Raises UserError for an artifact that is not there (any more).
    """
    wish = run.settings.base
    if wish == STARTER:
        return str(_starter(run, rows, names))
    if wish == LATEST or wish.startswith(ARTIFACT):
        run.parent_artifact, folder = find_artifact(run, wish, ArtifactKind.POLICY)
        return _whole(run, str(folder))
    check_base(wish)
    return _whole(run, wish)


def find_artifact(run: Run[Any], wish: str, kind: ArtifactKind) -> tuple[int, Path]:
    """Id and folder of "latest" (of that kind) or "artifact:N". Raises UserError where there is none.

    The latest is what the job made that this one waited for, where that made one of the kind.
    """
    query = select(Artifact).where(Artifact.kind == kind).order_by(Artifact.id.desc()).limit(1)
    if wish != LATEST:
        query = select(Artifact).where(Artifact.id == number_of(wish.removeprefix(ARTIFACT)))
    with run.database().read() as session:
        before = select(Job.after_id).where(Job.id == run.job_id).scalar_subquery()
        own = session.scalar(query.where(Artifact.job_id == before)) if wish == LATEST else None
        found = own or session.scalar(query)
    if found is None:
        raise UserError(
            f"There is no {kind.value} “{wish}”; train one first, or give a hub id or a folder.",
            f"没有找到模型“{wish}”（{kind.value}），请先训练，或填写 Hub 上的模型名或文件夹。",
        )
    if not Path(found.path).is_dir():
        raise UserError(
            f"The files of artifact {found.id} are gone ({found.path}); train it again or choose another.",
            f"产物 {found.id} 的文件已不在（{found.path}），请重新训练或另选一个。",
        )
    return found.id, Path(found.path)


def load_tokenizer(base: str, revision: str | None = None) -> Any:
    """The tokenizer as it was trained. Raises UserError where it reads text as nothing."""
    # AutoTokenizer rebuilds some model types from a recipe of their own, and a foreign vocabulary then
    # reads every text as no tokens at all; tokenizer.json says what was trained.
    local = (Path(base) / "tokenizer.json").is_file()
    kind = PreTrainedTokenizerFast if local else AutoTokenizer
    tokenizer = _loaded(base, lambda: kind.from_pretrained(base, revision=revision))
    if not tokenizer(PROBE, add_special_tokens=False)["input_ids"]:
        raise UserError(
            f"The tokenizer of “{base}” reads Chinese text as nothing; use another base.",
            f"“{base}”的分词器无法识别中文，请换一个 base。",
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_policy(run: Run[Any], base: str) -> Any:
    """The language model to train."""
    return _loaded(
        base,
        lambda: AutoModelForCausalLM.from_pretrained(base, revision=run.settings.revision, **_how(run)),
    )


def load_classifier(run: Run[Any], base: str, tokenizer: Any) -> Any:
    """The same body with one fresh output."""
    model = _loaded(
        base,
        lambda: AutoModelForSequenceClassification.from_pretrained(
            base, revision=run.settings.revision, num_labels=1, **_how(run)
        ),
    )
    model.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    return model


def lora(settings: TrainingSettings, task: str) -> LoraConfig | None:
    """The adapter to train; None trains every weight. `task` is "CAUSAL_LM" or "SEQ_CLS"."""
    if not settings.lora_rank:
        return None
    return LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules="all-linear",
        modules_to_save=["score"] if task == "SEQ_CLS" else None,
        task_type=task,
    )


def _how(run: Run[Any]) -> dict[str, Any]:
    # Full training keeps its weights in float32, where small updates are not rounded away.
    frozen = run.settings.lora_rank > 0 and run.device == "cuda" and run.settings.dtype != "float32"
    how: dict[str, Any] = {"dtype": torch.bfloat16 if frozen else torch.float32}
    # Of a sequence as short as a greeting the fused kernel of the CPU takes twice as long backwards.
    return how if run.device == "cuda" else {**how, "attn_implementation": "eager"}


def _whole(run: Run[Any], base: str) -> str:
    """The base itself; an adapter is laid into its own base first, and the result kept beside the run."""
    if not (Path(base) / "adapter_config.json").is_file():
        return base
    folder = run.out / "base"
    if not (folder / "config.json").is_file():
        from peft import AutoPeftModelForCausalLM

        adapted: PeftModel = _loaded(
            base, lambda: AutoPeftModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        )
        load_tokenizer(base).save_pretrained(folder)
        adapted.merge_and_unload().save_pretrained(folder)
    return str(folder)


def _starter(run: Run[Any], rows: Sequence[Row], names: Sequence[str]) -> Path:
    """A fresh starter in OUT/base. GRPO needs a path, and a resumed run the same tokenizer."""
    folder = run.out / "base"
    if (folder / "model.safetensors").is_file():
        return folder
    requests = list(dict.fromkeys(row["prompt"] for row in rows))
    greetings = list(dict.fromkeys(row[name] for row in rows for name in names))
    found = len({*requests, *greetings})
    if found < ENOUGH_TEXTS:
        raise too_little(run, found, ENOUGH_TEXTS)
    tokenizer = train_tokenizer(requests, greetings, plan.tokens_of(rows))
    tokenizer.save_pretrained(folder)
    torch.manual_seed(run.settings.seed)
    model = Qwen3ForCausalLM(_config(tokenizer, run.settings.shape))
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
    model.save_pretrained(folder)
    size = sum(weight.numel() for weight in model.parameters())
    run.report.log(f"starter: {size / 1e6:.2f} M parameters, {len(tokenizer)} tokens of vocabulary")
    return folder


def _config(tokenizer: Any, shape: str) -> Qwen3Config:
    return Qwen3Config(
        vocab_size=len(tokenizer),
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        **SHAPES[shape],
    )


def too_little(run: Run[Any], found: int, needed: int) -> UserError:
    """Not enough to learn from."""
    where = ", ".join(run.settings.datasets) or "the database"
    return UserError(
        f"{where} holds {found} usable training rows for {run.kind}, at least {needed} are needed; "
        "import or label more.",
        f"{where} 中可用于 {run.kind} 的训练数据只有 {found} 条，至少需要 {needed} 条，请导入或标注更多。",
    )


def _loaded(base: str, load: Any) -> Any:
    try:
        return load()
    except (OSError, ValueError, KeyError) as error:
        if getattr(error, "errno", None) is not None and not isinstance(error, FileNotFoundError):
            raise
        cause = str(error).strip().splitlines()[0][:200]
        raise UserError(
            f"base “{base}” cannot be loaded ({cause}); check the name, the network, or HF_TOKEN.",
            f"无法加载 base “{base}”（{cause}），请检查名称、网络或 HF_TOKEN。",
        ) from error
