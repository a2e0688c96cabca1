"""The trained starter that comes with the project: how it is made, its card, and its artifacts in a home.

`data/starter/model/` holds `policy/`, `reward_model/` (both float16) and `card.json`: the command and settings that
made them, hashes of the data they learnt from and of each folder, and figures. `python -m bench.ship_starter --write`
makes all of it.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.core.enums import ArtifactKind
from backend.core.errors import UserError
from backend.core.files import read_text_file
from backend.jobs.records import SHIPPED_ORIGIN, ArtifactInfo
from backend.jobs.service import JobService, compute_sha256
from backend.starter import compose
from backend.starter.bank import BANK_FOLDER
from backend.training.service import STARTER_NAMES, STARTER_PRESET
from backend.training.settings import find_presets

MODEL_FOLDER = BANK_FOLDER / "model"
CARD_FILE = "card.json"
SHIP_COMMAND = "python -m bench.ship_starter --write"
# Policy and reward model with their tokenizers; they travel with every clone.
LARGEST_SIZE = 6_000_000
# By part: the program that makes it, and what it does otherwise than the button that trains the starter.
PART_PROGRAMS = {"policy": "sft", "reward_model": "reward_model"}
RECIPE_CHANGES: dict[str, dict[str, Any]] = {"policy": {"epochs": 5}, "reward_model": {"epochs": 5}}
_CARD_BYTES = 1_000_000
_CARD_KEYS = {"command", "recipe_hash", "data_hash", "parts"}


@dataclass(frozen=True)
class ShippedCard:
    """What `card.json` says. `parts` holds hash and metrics of "policy" and "reward_model"."""

    command: str
    recipe_hash: str
    data_hash: str
    parts: Mapping[str, Mapping[str, Any]]


def recipe_settings(part: str) -> dict[str, Any]:
    """What a part's program is given beside the model it begins with. What is left out has the program's default."""
    preset_values = find_presets(PART_PROGRAMS[part])[STARTER_PRESET]
    # How often something is reported or saved changes no weight.
    named_values = {name: value for name, value in preset_values.items() if name != "base" and "_every" not in name}
    return named_values | RECIPE_CHANGES[part]


def recipe_hash() -> str:
    """SHA-256 of what both programs are given: equal where a model was made as this code would make it."""
    recipe_text = json.dumps({part: recipe_settings(part) for part in PART_PROGRAMS}, sort_keys=True)
    return hashlib.sha256(recipe_text.encode()).hexdigest()


def composed_data_hash() -> str:
    """SHA-256 of every row that the clauses of `data/starter` compose today."""
    data_hash = hashlib.sha256()
    for data_row in (*compose.build_sft_rows(), *compose.build_pair_rows()):
        data_hash.update(json.dumps(data_row, ensure_ascii=False, sort_keys=True).encode())
    return data_hash.hexdigest()


def load_card(model_folder: Path = MODEL_FOLDER) -> ShippedCard:
    """The card beside the model. Raises UserError where it is missing or holds something else."""
    try:
        card_values = json.loads(read_text_file(model_folder / CARD_FILE, _CARD_BYTES))
        return ShippedCard(**{key: card_values[key] for key in sorted(_CARD_KEYS)})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{model_folder / CARD_FILE} is missing or broken; fetch it again, or make the model anew: {SHIP_COMMAND}.",
            f"{model_folder / CARD_FILE} 不存在或已损坏，请重新获取，或重新生成模型：{SHIP_COMMAND}。",
        ) from error


def check_model_files(model_folder: Path = MODEL_FOLDER) -> ShippedCard:
    """The card, whose hashes are those of the files. Raises UserError naming the part that is another or missing."""
    card = load_card(model_folder)
    for part in PART_PROGRAMS:
        part_folder = model_folder / part
        if not part_folder.is_dir() or compute_sha256(part_folder) != card.parts[part]["sha256"]:
            raise UserError(
                f"{part_folder} is not what its card describes, so it is not used; fetch it again, "
                f"or make it anew: {SHIP_COMMAND}.",
                f"{part_folder} 与说明卡不符，因此不会使用；请重新获取，或重新生成：{SHIP_COMMAND}。",
            )
    return card


def register_shipped_starter(
    job_service: JobService, home_folder: Path, model_folder: Path = MODEL_FOLDER
) -> tuple[ArtifactInfo, ArtifactInfo]:
    """Policy and reward model as artifacts of this home, whose files are copied there; once for each release of them.

    Raises UserError where the files are missing or are not those of their card.
    """
    card = check_model_files(model_folder)
    policy = _register_part(job_service, home_folder, model_folder, card, "policy", None)
    return policy, _register_part(job_service, home_folder, model_folder, card, "reward_model", policy.id)


def _register_part(
    job_service: JobService,
    home_folder: Path,
    model_folder: Path,
    card: ShippedCard,
    part: str,
    parent_id: int | None,
) -> ArtifactInfo:
    part_hash = card.parts[part]["sha256"]
    # A copy of its own: the next release replaces the files in the project, and this home's row must stay true.
    target_folder = home_folder.resolve() / "shipped" / f"{part}-{part_hash[:12]}"
    if not target_folder.is_dir():
        _copy_folder(model_folder / part, target_folder)
    known_artifact = next(
        (
            artifact
            for artifact in job_service.artifacts(ArtifactKind(part))
            if artifact.is_shipped and artifact.sha256 == part_hash and artifact.path == target_folder
        ),
        None,
    )
    return known_artifact or job_service.add_artifact(
        ArtifactKind(part),
        STARTER_NAMES[PART_PROGRAMS[part]],
        target_folder,
        parent_id=parent_id,
        data_hash=card.data_hash,
        job_config={"origin": SHIPPED_ORIGIN, "made_by": card.command, "recipe_hash": card.recipe_hash},
        metrics=dict(card.parts[part].get("metrics", {})),
    )


def _copy_folder(source_folder: Path, target_folder: Path) -> None:
    """Whole or not at all: a start that is killed leaves no half of a model under this name."""
    target_folder.parent.mkdir(parents=True, exist_ok=True)
    draft_folder = Path(tempfile.mkdtemp(prefix=".copying-", dir=target_folder.parent))
    try:
        for source_file in source_folder.iterdir():
            # Without the permissions of the source: an installed project may be read-only.
            shutil.copyfile(source_file, draft_folder / source_file.name)
        draft_folder.replace(target_folder)
    finally:
        shutil.rmtree(draft_folder, ignore_errors=True)
