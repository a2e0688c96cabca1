"""What `bench.gpu_smoke` works with: models of random weights, their tokenizer, data, and programs in processes.

`python -m bench.gpu.world FOLDER SHAPE SNAPSHOT` builds one model, in a process of its own that gives its memory back.
"""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.core.enums import Split
from backend.core.settings import PROJECT_ROOT
from backend.training.model_shapes import SHAPES_BY_SIZE, ModelShape

TINY = ModelShape(6_000, 64, 128, 2, 4, 2, 16, has_tied_embeddings=True, has_attention_bias=True)
SHAPES = {
    "1.5B": SHAPES_BY_SIZE["Qwen/Qwen2.5-1.5B"],
    "7B": SHAPES_BY_SIZE["Qwen/Qwen2.5-7B"],
    "tiny": TINY,
}
MERGES = 3_000
# Part of every conversation in the template; not to be read letter by letter.
SYSTEM_TEXT = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.\nuser\nassistant\nsystem"
QUIET = {"log_every": 1, "eval_every": 100_000, "sample_every": 100_000, "samples": 0}
_STEP = re.compile(r"^step (\d+)/\d+ (.*)$", re.MULTILINE)
_ESTIMATE = re.compile(r"memory: about ([\d.]+) of")
_ADDRESS = re.compile(r"serving (\S+) at (http://\S+)")


@dataclass(frozen=True)
class Finished:
    """How a program ended: what it printed, and the figures of every step."""

    exit_code: int
    output: str
    seconds: float

    @property
    def steps(self) -> dict[int, dict[str, float]]:
        """Figures by step; of several lines for one step all of them."""
        figures: dict[int, dict[str, float]] = {}
        for step, words in _STEP.findall(self.output):
            names_and_values = words.split()
            pairs = zip(names_and_values[::2], names_and_values[1::2], strict=False)
            figures.setdefault(int(step), {}).update({name: _number(value) for name, value in pairs})
        return figures

    def values(self, name: str) -> list[float]:
        """One figure, step by step."""
        return [figures[name] for _, figures in sorted(self.steps.items()) if name in figures]

    @property
    def estimated_gb(self) -> float | None:
        """What the program itself estimated before it loaded anything."""
        found = _ESTIMATE.search(self.output)
        return float(found[1]) if found else None

    @property
    def measured_gb(self) -> float | None:
        """The most that torch's allocator held; None on a CPU."""
        return max(self.values("gpu_memory_gb"), default=None)


class SmokeWorld:
    """A home with the composed data, and models built when they are asked for."""

    def __init__(self, folder: Path, *, on_cpu: bool) -> None:
        self.folder, self.on_cpu = folder, on_cpu
        self.home = folder / "home"
        self.environment = os.environ | {
            "ZHUFU_HOME": str(self.home),
            "ZHUFU_DATABASE_URL": f"sqlite:///{self.home / 'zhufu.db'}",
            "HF_HUB_OFFLINE": "1",
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": str(PROJECT_ROOT),
        }
        if on_cpu:
            self.environment |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        self.snapshot_folder = self._export_snapshot()

    def _export_snapshot(self) -> Path:
        from backend.corpus.service import CorpusService
        from backend.db.engine import Database
        from backend.db.migrate import migrate
        from backend.training.snapshot import SnapshotOptions, export_snapshot

        self.home.mkdir(parents=True, exist_ok=True)
        database = Database(self.environment["ZHUFU_DATABASE_URL"])
        migrate(database)
        CorpusService(database).load_seed()
        snapshot_folder = export_snapshot(database, self.home, SnapshotOptions(composed=True)).folder
        database.close()
        return snapshot_folder

    def model(self, size: str, *, config_only: bool = False) -> Path:
        """The folder of a model of that size (on a CPU always the tiny one); `config_only` without any weights."""
        shape_name = size if config_only or not self.on_cpu else "tiny"
        model_folder = self.folder / f"model-{shape_name}{'-config' if config_only else ''}"
        if not (model_folder / "config.json").is_file():
            more = ["--config-only"] if config_only else []
            command = [
                sys.executable,
                "-m",
                "bench.gpu.world",
                str(model_folder),
                shape_name,
                str(self.snapshot_folder),
            ]
            subprocess.run([*command, *more], cwd=PROJECT_ROOT, env=self.environment, check=True)
        return model_folder

    def start(self, module: str, *arguments: str) -> tuple[subprocess.Popen[bytes], Path]:
        """Start a module; the process and the file that its output goes into."""
        log_path = self.folder / f"{module.rsplit('.', 1)[-1]}-{time.time_ns()}.log"
        with log_path.open("wb") as log_file:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                cwd=PROJECT_ROOT,
                env=self.environment,
                stdout=log_file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return process, log_path

    def run(self, module: str, *arguments: str) -> Finished:
        """Run a module to its end."""
        began = time.monotonic()
        process, log_path = self.start(module, *arguments)
        exit_code = process.wait()
        return Finished(exit_code, log_path.read_text("utf-8", "replace"), time.monotonic() - began)

    def arguments(self, out_folder: Path, *more: str, **setting_values: Any) -> list[str]:
        """The command line of a training program."""
        values = {**QUIET, "snapshot": self.snapshot_folder, **setting_values}
        if self.on_cpu:
            values = {**values, "threads": 1, "dtype": "float32"}
        return ["--out", str(out_folder), *(f"--set={name}={_text(value)}" for name, value in values.items()), *more]

    def train(self, program: str, out_name: str, *more: str, **setting_values: Any) -> Finished:
        """Run a training program to its end, as a person would by hand."""
        arguments = self.arguments(self.folder / out_name, *more, **setting_values)
        return self.run(f"backend.training.programs.{program}", *arguments)

    def kill_when(self, program: str, out_name: str, is_moment: Callable[[], bool], **setting_values: Any) -> bool:
        """SIGKILL a training at a moment; whether it came before the end."""
        arguments = self.arguments(self.folder / out_name, **setting_values)
        process, _ = self.start(f"backend.training.programs.{program}", *arguments)
        while process.poll() is None:
            if is_moment():
                process.kill()
                process.wait()
                return True
            time.sleep(0.002)
        return False

    @contextmanager
    def serving(self, artifact_folder: Path) -> Iterator[Callable[[str], str]]:
        """Serve a policy; what is yielded answers a request greedily."""
        out_folder = self.folder / f"served-{time.time_ns()}"
        settings = [f"--set=artifact={artifact_folder}", "--set=engine=transformers"]
        process, log_path = self.start("backend.training.programs.serve", "--out", str(out_folder), *settings)
        try:
            while (found := _ADDRESS.search(log_path.read_text("utf-8", "replace"))) is None:
                if process.poll() is not None:
                    raise RuntimeError(log_path.read_text("utf-8", "replace")[-2000:])
                time.sleep(0.2)
            model_name, base_url = found[1], found[2]
            yield lambda request: _ask(base_url, model_name, request)
        finally:
            process.terminate()
            process.wait(60)

    def used_gpu_mb(self) -> int | None:
        """Memory in use on the first card by its driver; None on a CPU."""
        if self.on_cpu:
            return None
        query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
        listing = subprocess.run(query, capture_output=True, text=True, check=True)
        return int(listing.stdout.split()[0])


def _ask(base_url: str, model_name: str, request: str) -> str:
    body = {
        "model": model_name,
        "messages": [{"role": "user", "content": request}],
        "temperature": 0.0,
        "max_tokens": 24,
    }
    http_request = urllib.request.Request(
        f"{base_url}/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(http_request, timeout=300) as response:
        return str(json.loads(response.read())["choices"][0]["message"]["content"])


def _text(value: Any) -> str:
    return json.dumps(value) if isinstance(value, bool) else str(value)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def build_tokenizer(texts: list[str], vocabulary_size: int) -> Any:
    """A byte-level BPE of these texts, filled up with pairs of their characters so that every token is a text.

    A model of random weights writes any of its tokens; one without a text would leave rewards nothing to read.
    """
    import itertools

    import trl
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = byte_level, decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=min(MERGES, vocabulary_size), special_tokens=special, initial_alphabet=byte_level.alphabet()
    )
    tokenizer.train_from_iterator([*texts, *[SYSTEM_TEXT] * len(texts)], trainer)
    state = json.loads(tokenizer.to_str())
    vocabulary = state["model"]["vocab"]
    characters = sorted({character for text in texts for character in text if character.isalpha()})
    for pair in itertools.product(characters, characters):
        if len(vocabulary) >= vocabulary_size:
            break
        vocabulary.setdefault(byte_level.pre_tokenize_str("".join(pair))[0][0], len(vocabulary))
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)),
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=special[1:],
    )
    template_file = Path(trl.__file__).parent / "chat_templates" / "qwen2_5.jinja"
    wrapped.chat_template = template_file.read_text("utf-8")
    return wrapped


def build_model(model_folder: Path, shape: ModelShape, snapshot_folder: Path, *, config_only: bool) -> None:
    """Random weights in bfloat16 (float32 on a CPU) with a fixed seed, saved as a model of the hub would be."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from backend.training.snapshot import open_snapshot

    snapshot = open_snapshot(snapshot_folder.parent, str(snapshot_folder))
    rows = snapshot.rows("sft", Split.TRAIN)
    texts = [row[field] for row in rows for field in ("prompt", "completion")]
    tokenizer = build_tokenizer(texts, shape.vocabulary_size)
    on_gpu = torch.cuda.is_available()
    config = Qwen2Config(
        vocab_size=shape.vocabulary_size,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.layer_count,
        num_attention_heads=shape.head_count,
        num_key_value_heads=shape.key_value_head_count,
        tie_word_embeddings=shape.has_tied_embeddings,
        max_position_embeddings=32_768,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="bfloat16" if on_gpu else "float32",
    )
    tokenizer.save_pretrained(model_folder)
    if config_only:
        config.save_pretrained(model_folder)
        return
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16 if on_gpu else torch.float32)
    with torch.device("cuda" if on_gpu else "cpu"):
        model = Qwen2ForCausalLM(config)
    model.save_pretrained(model_folder)


if __name__ == "__main__":
    build_model(Path(sys.argv[1]), SHAPES[sys.argv[2]], Path(sys.argv[3]), config_only="--config-only" in sys.argv[4:])
