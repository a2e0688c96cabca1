"""What the libraries of training read while they are imported is settled before: no telemetry, no hub."""

import json
import os
import subprocess
import sys

from backend.core.settings import PROJECT_ROOT

SETTLED = """
import json
import os
import backend.training.programs.MODULE
from huggingface_hub import constants
print(json.dumps([
    constants.HF_HUB_DISABLE_TELEMETRY, constants.HF_HUB_OFFLINE, os.environ.get("TOKENIZERS_PARALLELISM"),
    os.environ.get("HF_DATASETS_DISABLE_PROGRESS_BARS"),
]))
"""


def settled(module: str) -> list[object]:
    """Telemetry off, hub off, forking tokenizers, progress bars: as a program finds them that is started bare."""
    bare = {
        name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TOKENIZERS", "TRANSFORMERS"))
    }
    code = SETTLED.replace("MODULE", module)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT_ROOT, env=bare, capture_output=True, text=True, check=True
    )
    return list(json.loads(done.stdout.splitlines()[-1]))


def test_a_training_tells_nobody_and_forks_no_tokenizers() -> None:
    assert settled("card") == [True, False, "false", "1"]


def test_a_reward_model_is_scored_without_asking_the_hub() -> None:
    assert settled("reward_server")[:2] == [True, True]
