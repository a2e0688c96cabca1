"""Adapters merged into their bases: one merge a machine, whole or not at all, for training, serving and export."""

import errno
import gc
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Self

from backend.core.errors import UserError
from backend.core.folders import build_folder, hold_lock, remove_drafts, try_lock
from backend.training.programs.base_files import check_adapter
from backend.training.programs.chat_format import stop_at_turn_end
from backend.training.programs.loading import holds_whole_model, load_or_explain, load_tokenizer

# PEFT is imported where an adapter is merged: serving a whole model should not wait for it.
if TYPE_CHECKING:
    from transformers import PreTrainedModel

ADAPTER_CONFIG = "adapter_config.json"
# What else of an adapter's folder belongs to the model and not to the base: how it is asked, and where it ends.
CARRIED_FILES = ("generation_config.json",)
# A merge that nobody needs stays for whoever comes next: a reward model and GRPO follow the SFT they start from.
UNNEEDED_SECONDS = 24 * 3600.0
HASH_BLOCK_BYTES = 1 << 20
StopCheck = Callable[[], None]
# Given the bytes that are about to be written.
RoomMaker = Callable[[int], object]


def is_adapter(model_name: str | Path) -> bool:
    """Whether a folder holds an adapter (LoRA) and not a whole model."""
    return (Path(model_name) / ADAPTER_CONFIG).is_file()


def merge_adapter(
    adapter_folder: Path,
    target_folder: Path,
    stop_if_requested: StopCheck = lambda: None,
    make_room: RoomMaker = lambda _needed_bytes: None,
) -> None:
    """Write an adapter merged into its base to `target_folder`, which is whole afterwards or as it was.

    There lie safetensors in the dtype of the base's own files, config.json, generation_config.json and the adapter's
    tokenizer with its chat template; plain transformers loads the folder. `stop_if_requested` is called between
    loading, merging and writing, and may raise; `make_room` before anything is written. Raises UserError for an
    adapter or a base that cannot be loaded, OSError (or what safetensors raises) where the disk is full.
    """
    with build_folder(target_folder) as draft_folder:
        check_adapter(adapter_folder)
        tokenizer = load_tokenizer(str(adapter_folder))
        merged_model = _load_merged(adapter_folder, stop_if_requested)
        stop_if_requested()
        needed_bytes = sum(weight.numel() * weight.element_size() for weight in merged_model.parameters())
        make_room(needed_bytes)
        # Minutes earlier than by writing until nothing more fits, which would stop every other program too.
        if shutil.disk_usage(draft_folder).free < needed_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target_folder))
        # The base's own end token may be another than that of the turns it has learnt since.
        stop_at_turn_end(merged_model, tokenizer)
        merged_model.save_pretrained(draft_folder)
        tokenizer.save_pretrained(draft_folder)
        for file_name in CARRIED_FILES:
            if (adapter_folder / file_name).is_file():
                shutil.copyfile(adapter_folder / file_name, draft_folder / file_name)
        stop_if_requested()


def _load_merged(adapter_folder: Path, stop_if_requested: StopCheck) -> "PreTrainedModel":
    from peft import AutoPeftModelForCausalLM

    def load_adapted() -> Any:
        # “auto” is the dtype of the base's files: float32 would take twice the memory and twice the disk.
        return AutoPeftModelForCausalLM.from_pretrained(
            adapter_folder, dtype="auto", use_safetensors=True, trust_remote_code=False
        )

    try:
        adapted_model = load_or_explain(str(adapter_folder), load_adapted)
    except RuntimeError as error:
        if "size mismatch" not in str(error):
            raise
        base_name = read_base_name(adapter_folder)
        raise UserError(
            f"The adapter {adapter_folder} was not trained on “{base_name}”: their shapes differ; "
            "put the base back that it was trained on.",
            f"适配器 {adapter_folder} 不是在“{base_name}”上训练的（形状不符），请换回训练时的 base。",
        ) from error
    stop_if_requested()
    merged_model: PreTrainedModel = adapted_model.merge_and_unload()
    return merged_model


def read_base_name(adapter_folder: Path) -> str | None:
    """Folder or hub id of the base that an adapter belongs to; None where its configuration names none."""
    try:
        adapter_config = json.loads((adapter_folder / ADAPTER_CONFIG).read_text("utf-8"))
        return str(adapter_config["base_model_name_or_path"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


class MergedModels:
    """Merged adapters of one home, in HOME/merged by the hash of adapter and base; close it when they are not read.

    Beside each folder lies a file of the same name that ends in `.users`: its lock is held by every process that
    uses the merge, and its lines name the folders of runs that may have to come back to it.
    """

    def __init__(self, home_folder: Path, stop_if_requested: StopCheck = lambda: None) -> None:
        self._folder = home_folder.resolve() / "merged"
        self._stop_if_requested = stop_if_requested
        self._held_locks: dict[Path, BinaryIO] = {}

    def open(self, adapter_folder: Path, run_folder: Path) -> Path:
        """The folder of the merged model, merged now where it is not there; other processes wait meanwhile.

        It stays as long as this object is open, as `run_folder` has checkpoints or as an adapter there belongs to it.
        Raises what `merge_adapter` raises.
        """
        merged_folder = self._folder / compute_merge_key(adapter_folder)
        users_file = merged_folder.with_suffix(".users")
        # A lock of its own would keep this process, too, from writing what has been torn since.
        if (own_lock := self._held_locks.pop(merged_folder, None)) is not None:
            own_lock.close()
        while True:
            users_lock = hold_lock(users_file, shared=True, while_waiting=self._stop_if_requested)
            if holds_whole_model(merged_folder):
                return self._keep(merged_folder, users_file, users_lock, run_folder)
            users_lock.close()
            with hold_lock(users_file, while_waiting=self._stop_if_requested):
                # Whoever waited for the lock finds the work done.
                if not holds_whole_model(merged_folder):
                    remove_drafts(merged_folder)
                    merge_adapter(adapter_folder, merged_folder, self._stop_if_requested, self._make_room)
                    # Models hold themselves by cycles; this one would stay in memory beside the next.
                    gc.collect()

    def remove_unneeded(self, unneeded_seconds: float = UNNEEDED_SECONDS) -> list[Path]:
        """Remove, and return, the merges that nobody needs and nobody has opened for so long."""
        removed_folders = []
        for users_file in self._folder.glob("*.users"):
            # What somebody else owns here is theirs to remove; no training should fail for it at its end.
            with suppress(PermissionError):
                if _remove_if_unneeded(users_file, unneeded_seconds):
                    removed_folders.append(users_file.with_suffix(""))
        return removed_folders

    def close(self) -> None:
        """Let go of the merges that this process has opened."""
        while self._held_locks:
            self._held_locks.popitem()[1].close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _make_room(self, needed_bytes: int) -> None:
        self.remove_unneeded()
        if shutil.disk_usage(self._folder).free < needed_bytes:
            self.remove_unneeded(0)

    def _keep(self, merged_folder: Path, users_file: Path, users_lock: BinaryIO, run_folder: Path) -> Path:
        self._held_locks[merged_folder] = users_lock
        if str(run_folder) not in _read_users(users_file):
            users_lock.write(f"{run_folder}\n".encode())
            users_lock.flush()
        os.utime(users_file)
        return merged_folder


def compute_merge_key(adapter_folder: Path) -> str:
    """What a merge is kept under: the same adapter on the same base has the same, wherever it lies."""
    merge_hash = hashlib.sha256()
    for file_path in sorted(adapter_folder.iterdir()):
        # Cards and checkpoints of the trainer's state say nothing about what is merged.
        if file_path.suffix in (".safetensors", ".jinja") or file_path.name in (
            ADAPTER_CONFIG,
            "tokenizer.json",
            "tokenizer_config.json",
            *CARRIED_FILES,
        ):
            merge_hash.update(f"{file_path.name}\n".encode())
            with file_path.open("rb") as file_stream:
                while file_block := file_stream.read(HASH_BLOCK_BYTES):
                    merge_hash.update(file_block)
    base_folder = Path(read_base_name(adapter_folder) or "")
    if base_folder.is_dir():
        # A base of many gigabytes is known by its files' times: one that was trained anew has others.
        for weight_file in sorted(base_folder.glob("*.safetensors")):
            file_facts = weight_file.stat()
            merge_hash.update(f"{weight_file.name} {file_facts.st_size} {file_facts.st_mtime_ns}\n".encode())
    return merge_hash.hexdigest()[:32]


def _remove_if_unneeded(users_file: Path, unneeded_seconds: float) -> bool:
    """Remove the merge of a file of users, unless it is needed or in use; whether it was removed."""
    if (users_lock := try_lock(users_file)) is None:
        return False
    with users_lock:
        merged_folder = users_file.with_suffix("")
        remove_drafts(merged_folder)
        idle_seconds = time.time() - users_file.stat().st_mtime
        if idle_seconds < unneeded_seconds or _is_needed(merged_folder, users_file):
            return False
        shutil.rmtree(merged_folder, ignore_errors=True)
        users_file.unlink(missing_ok=True)
        return True


def _is_needed(merged_folder: Path, users_file: Path) -> bool:
    return any(_needs_merge(Path(run_folder), merged_folder) for run_folder in _read_users(users_file))


def _needs_merge(run_folder: Path, merged_folder: Path) -> bool:
    """Whether a run may be resumed on this base, or has left an adapter that belongs to it."""
    adapter_configs = list(run_folder.glob(f"*/{ADAPTER_CONFIG}"))
    return (run_folder / "checkpoints").is_dir() or any(
        read_base_name(adapter_config.parent) == str(merged_folder) for adapter_config in adapter_configs
    )


def _read_users(users_file: Path) -> list[str]:
    return users_file.read_text("utf-8").splitlines()
