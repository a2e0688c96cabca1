"""How long a visitor waits for the starter on this CPU: first characters, and four greetings.

`python -m bench.playground_latency` serves an untrained model of the starter's shape as the application does
and asks for four greetings at once, each 64 tokens long (a trained starter ends sooner), as one visitor and
as two; with `--artifact DIR` it is a policy that was trained. Seconds are medians of the rounds once the
model is warm; the bounds are 1 and 5.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from backend.core.enums import ArtifactKind
from backend.core.settings import PROJECT_ROOT, Settings
from backend.generation.writer import GreetingWriter, SamplingSettings
from backend.services import Services, build_services
from tests.job_helpers import sweep, worker

GREETINGS, TOKENS, ROUNDS = 4, 64, 7
PROMPT = "妈妈六十岁生日，她刚学会跳广场舞"
BUILD = """
import json, sys, torch
from pathlib import Path
from transformers import Qwen3ForCausalLM
from backend.training.programs.models import _config
from backend.training.programs.starter_tokenizer import train_tokenizer
from backend.core.settings import ROOT
rows = [json.loads(line) for file in sorted((ROOT / "data" / "seed").glob("*.jsonl")) for line in file.open()]
tokenizer = train_tokenizer(
    [row["prompt"] for row in rows], [row[name] for row in rows for name in ("strong", "weak")]
)
torch.manual_seed(0)
model = Qwen3ForCausalLM(_config(tokenizer, "wide"))
model.generation_config.update(do_sample=True, eos_token_id=tokenizer.pad_token_id)
model.save_pretrained(sys.argv[1])
tokenizer.save_pretrained(sys.argv[1])
"""


async def one(writer: GreetingWriter, seed: int, began: float) -> tuple[float, float]:
    """Seconds to the first piece and to the end."""
    first: list[float] = []
    drawn = SamplingSettings(seed=seed, max_tokens=TOKENS)
    await writer.stream(PROMPT, lambda _: first.append(time.monotonic() - began), drawn)
    return (first[0] if first else time.monotonic() - began), time.monotonic() - began


async def measure(services: Services, name: str, visitors: int) -> dict[str, float]:
    """Medians over the rounds, after one that warms up."""
    firsts, totals = [], []
    for number in range(ROUNDS + 1):
        began, writers = time.monotonic(), []
        for _ in range(visitors):
            writers.append(await services.generators.open(name, ledger_scope=f"bench {visitors} {number}"))
        seeds = range(number * 100, number * 100 + GREETINGS)
        work = [one(w, seed + 1000 * i, began) for i, w in enumerate(writers) for seed in seeds]
        done = await asyncio.gather(*work)
        for writer in writers:
            await writer.close()
        if number:
            firsts.append(min(first for first, _ in done))
            totals.append(max(total for _, total in done))
    return {"first": round(statistics.median(firsts), 2), "all": round(statistics.median(totals), 2)}


def main() -> None:
    """Build, serve, measure; one JSON object."""
    parser = argparse.ArgumentParser(description="What a visitor waits for the starter.")
    parser.add_argument("--artifact", type=Path, help="Folder of a trained policy.")
    trained = parser.parse_args().artifact
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        os.environ["ZHUFU_HOME"] = str(home)
        services = build_services(Settings(home=home))
        policy = trained or Path(folder) / "policy"
        if trained is None:
            build = [sys.executable, "-c", BUILD, str(policy)]
            subprocess.run(build, cwd=PROJECT_ROOT, check=True, capture_output=True)
        name = f"artifact:{services.jobs.add_artifact(ArtifactKind.POLICY, 'starter', policy).id}"
        with worker(home):
            began = time.monotonic()
            asyncio.run(services.generators.resolve(name))
            result: dict[str, object] = {"start": round(time.monotonic() - began, 2)}
            for visitors in (1, 2):
                result[f"visitors_{visitors}"] = asyncio.run(measure(services, name, visitors))
            services.generators.stop(name)
            time.sleep(2)
        sweep(services.database)
        services.close()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
