"""Several GRPO runs in one process, for their tests: python -m tests.grpo_runs OUT."""

import json
import os
import shutil
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
import trl
from sqlalchemy import func, select
from transformers import GenerationMixin, TrainerControl, TrainerState, TrainingArguments
from transformers.utils.chat_template_utils import render_jinja_template
from trl import GRPOTrainer

from backend.core.errors import UserError
from backend.core.settings import Settings
from backend.db.engine import Database
from backend.db.llm_tables import LLMCall
from backend.jobs.messages import JobMessage
from backend.jobs.report import JobReport
from backend.judges.base import JudgeKind, JudgeSpec
from backend.training.grpo_settings import GrpoSettings
from backend.training.programs import grpo, launch
from backend.training.programs.callbacks import RewardMemory
from backend.training.programs.checkpoints import TrainingStopped
from backend.training.programs.program import TrainingRun
from backend.training.programs.prompt_template import find_prompt_template, strip_wrapping, wrap_requests
from backend.training.programs.reward_judges import JudgeReward
from backend.training.programs.rewards import MixedReward, Reward, RewardValues
from backend.training.programs.starter_tokenizer import CHAT_TEMPLATE
from tests.llm_fixtures import FakeLLM, running
from tests.test_rewards import Fixed, FixedContext

TINY: dict[str, Any] = {
    "prompts": 4,
    "generations": 4,
    "batch_size": 16,
    "max_new_tokens": 12,
    "max_length": 60,
    "max_steps": 4,
    "eval_every": 2,
    "eval_prompts": 8,
    "save_every": 2,
    "sample_every": 2,
    "samples": 2,
    "learning_rate": 0.01,
    "scheduler": "constant",
    "warmup": 0.0,
    "log_every": 1,
    "dtype": "float32",
}


class Told(JobReport):
    """Keeps what a job would store, and asks to stop at a step."""

    def __init__(self, stop_at: int | None = None) -> None:
        super().__init__(None, None)
        self.metrics: list[dict[str, Any]] = []
        self.logs: list[str] = []
        self.samples: list[dict[str, Any]] = []
        self._stop_at = stop_at

    def metric(self, step: int, **values: Any) -> None:
        self.metrics.append({"step": step, **values})

    def sample(self, step: int, prompt_text: str, reply_text: str) -> None:
        self.samples.append({"step": step, "prompt": prompt_text, "text": reply_text})

    def log(self, message: JobMessage) -> None:
        self.logs.append(message.log_line)

    def stop_requested(self) -> bool:
        steps = [row["step"] for row in self.metrics if "loss" in row]
        return self._stop_at is not None and bool(steps) and steps[-1] >= self._stop_at - 1


class Odd(Reward):
    """A reward of the tests."""

    name = "odd"

    def __init__(self, values: Callable[[Sequence[str]], RewardValues]) -> None:
        super().__init__()
        self.values = values

    def score(self, requests: Sequence[str], greetings: Sequence[str]) -> RewardValues:  # noqa: ARG002
        return self.values(greetings)


class Ticking(Reward):
    """A part that pays more at every call, so that what it remembers shows in the curve."""

    name = "ticking"
    calls = 0

    def score(self, requests: Sequence[str], greetings: Sequence[str]) -> RewardValues:  # noqa: ARG002
        self.calls += 1
        return [float(self.calls)] * len(greetings)

    def state(self) -> Any:
        return self.calls

    def restore(self, saved_state: Any) -> None:
        self.calls = saved_state


def run(
    out: Path,
    stop_at: int | None = None,
    reward: Reward | None = None,
    beside: Reward | None = None,
    judged_by: str = "reward_model",
    **changes: Any,
) -> dict[str, Any]:
    """One run; what it told, how it ended, and whether its weights moved."""
    house = Settings.load()
    base = {
        "base": str(house.home / "policy"),
        "reward_artifact": str(house.home / "rm"),
        "reward": judged_by,
    }
    settings = GrpoSettings(**TINY | base | {"snapshot": _snapshot(house)} | changes)
    told, database = Told(stop_at), Database(house.url)
    out.mkdir(parents=True, exist_ok=True)
    usual = grpo.reward_of
    if reward is not None:
        grpo.reward_of = lambda _run: reward
    if beside is not None:
        grpo.reward_of = lambda made: MixedReward([(1.0, usual(made)), (1.0, beside)])
    ended, training_run = "done", TrainingRun("grpo", settings, out, house.home, told, lambda: database, None)
    try:
        torch.manual_seed(settings.seed)
        if launch.starts_processes(settings):
            launch.check_device_count(training_run)
        grpo.train(training_run)
    except TrainingStopped:
        ended = "stopped"
    except UserError as error:
        ended = f"error: {error}"
    except Exception:
        ended = traceback.format_exc()
    finally:
        grpo.reward_of = usual
        told.close()
        database.close()
    return {
        "ended": ended,
        "metrics": told.metrics,
        "tokens": training_run.count_tokens(0) if training_run.count_tokens else 0,
        "logs": told.logs,
        "samples": told.samples,
        "files": sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()),
        "card": _card(out),
    }


def _snapshot(house: Settings) -> str:
    return str(json.loads((house.home / "tiny.json").read_text())["snapshot"])


def _card(out: Path) -> Any:
    path = out / "artifact" / "artifact.json"
    return json.loads(path.read_text("utf-8")) if path.exists() else None


def _fail(_texts: Sequence[str]) -> RewardValues:
    raise RuntimeError("the judge fell over")


def _same() -> Reward:
    """A judge that gives 1 to everything."""
    return JudgeReward(JudgeSpec(JudgeKind.NGRAM, "ngram"), FixedContext(Fixed([1.0] * 64)))


def contract(out: Path) -> list[float]:
    """The advantages that TRL gives to rewards with None among them."""
    seen: list[float] = []
    usual = GRPOTrainer._generate_and_score_completions

    def spy(trainer: GRPOTrainer, inputs: Any) -> Any:
        made = usual(trainer, inputs)
        seen.extend(made["advantages"].tolist())
        return made

    values: RewardValues = [1.0, None, 0.0, 1.0, *[None] * 4, *[0.5] * 4, 2.0, 0.0, 0.0, 0.0]
    GRPOTrainer._generate_and_score_completions = spy
    try:
        ended = run(out, reward=Odd(lambda _texts: values), max_steps=1, gold="off")
    finally:
        GRPOTrainer._generate_and_score_completions = usual
    assert ended["ended"] == "done", ended["ended"]
    return seen


def torn(out: Path) -> int:
    """What a reward remembers of a checkpoint whose writing was broken off the second time."""
    args = TrainingArguments(output_dir=str(out), report_to=[], use_cpu=True)
    state, control, usual = TrainerState(global_step=2), TrainerControl(), Path.write_text

    def half(path: Path, text: str, *_given: Any) -> int:
        usual(path, text[: len(text) // 2])
        raise KeyboardInterrupt

    known, again = Ticking(), Ticking()
    known.calls = 1234
    RewardMemory(known).on_save(args, state, control)
    Path.write_text = half
    try:
        RewardMemory(known).on_save(args, state, control)
    except KeyboardInterrupt:
        pass
    finally:
        Path.write_text = usual
    RewardMemory(again).on_train_begin(args, state, control)
    return again.calls


def torn_rm(folder: Path) -> Path:
    """The reward model with half of its weights."""
    shutil.copytree(Settings.load().home / "rm", folder)
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    return folder


def refused(out: Path, **settings: Any) -> dict[str, Any]:
    """A run whose judge is asked at a port where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        os.environ["ZHUFU_LLM_BASE_URL"] = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        return run(out, judged_by="principle", unscored_rollouts=2, **settings)


def capped(out: Path, **settings: Any) -> dict[str, Any]:
    """A run under a cap on calls that is stopped and goes on, and the calls that the ledger holds."""
    key, before = os.environ["ZHUFU_LLM_API_KEY"], _recorded_calls()
    os.environ["ZHUFU_LLM_API_KEY"] = "right"
    # A seed of its own: replies to what another run has asked would come from the ledger, and cost no call.
    first = run(out, stop_at=1, judged_by="principle", max_calls=40, seed=7, **settings)
    between = _recorded_calls()
    second = run(out, judged_by="principle", max_calls=40, seed=7, **settings)
    os.environ["ZHUFU_LLM_API_KEY"] = key
    return {"first": first, "second": second, "calls": [between - before, _recorded_calls() - between]}


def _recorded_calls() -> int:
    database = Database(Settings.load().url)
    with database.read() as session:
        count = session.scalar(select(func.count()).select_from(LLMCall)) or 0
    database.close()
    return count


WRAPPED = "请只写一条“{request}”，\n不要 {# 解释 #}："


def templates(out: Path) -> dict[str, Any]:
    """What real chat templates make of requests inside a prompt template."""
    files = [Path(trl.__file__).parent / "chat_templates" / f"{name}.jinja" for name in ("qwen2_5", "qwen3")]
    before = [{"role": "system", "content": "简短"}]
    answer = {"role": "assistant", "content": "祝福"}
    found = []
    for plain in [*(file.read_text("utf-8") for file in files), CHAT_TEMPLATE]:
        twice = wrap_requests(wrap_requests(plain, "换掉：{request}"), WRAPPED)
        shown = []
        for template, words in ((twice, "{request}"), (plain, WRAPPED)):
            asked = [{"role": "user", "content": words.replace("{request}", one)} for one in ("给奶奶", "再短一点")]
            conversation = [*before, asked[0], answer, asked[1]]
            shown.append(render_jinja_template([conversation], chat_template=template, add_generation_prompt=True)[0])
        found.append([shown[0] == shown[1], find_prompt_template(twice), strip_wrapping(twice) == plain])
    saved = out / "resampled" / "artifact" / "chat_template.jinja"
    return {"rendered": found, "saved": find_prompt_template(saved.read_text("utf-8"))}


def resampled(out: Path) -> dict[str, Any]:
    """A run with every choice of TRL's changed; the first two groups of its first rollout have no variance."""
    calls: list[int] = []

    def values(texts: Sequence[str]) -> RewardValues:
        calls.append(len(texts))
        spread: RewardValues = [float(index % 4) for index in range(len(texts))]
        # A group that nobody scored is not drawn again: the judge is down, and would be asked still more.
        return [1.0] * 8 + [None] * 4 + spread[12:] if len(calls) == 1 else [1.0] * 4 + spread[4:]

    choices = {
        "resample_groups": 3,
        "prompt_template": WRAPPED,
        "max_length": 100,
        "importance_sampling_level": "sequence",
        "epsilon": 0.1,
        "epsilon_high": 0.3,
        "scale_rewards": "none",
        "num_iterations": 2,
        "entropy_coef": 0.01,
        "top_k": 20,
    }
    guards: set[int] = set()
    usual = GenerationMixin._sample

    def spy(model: GenerationMixin, *given: Any, **named: Any) -> Any:
        guards.add(named["generation_config"].no_repeat_ngram_size)
        return usual(model, *given, **named)

    GenerationMixin._sample = spy
    try:
        return run(out, reward=Odd(values), gold="off", **choices) | {"calls": calls, "guards": list(guards)}
    finally:
        GenerationMixin._sample = usual


def compared(out: Path, **settings: Any) -> dict[str, Any]:
    """The same policy under verdicts that call everything good, and ranked by a judge that prefers some to others."""
    with running() as fake:
        os.environ["ZHUFU_LLM_BASE_URL"] = fake.base_url
        fake.script(reply="tests.judge_replies:always_good")
        verdicts = run(out / "verdicts", judged_by="principle", **settings)
        fake.script(reply="tests.ranking_replies:by_merit")
        return {"verdicts": verdicts, "ranking": run(out / "ranking", judged_by="ranking", **settings)}


def outage(out: Path, **settings: Any) -> dict[str, Any]:
    """A ranking judge whose server refuses connections for the second and the third rollout of five."""
    score, scored = JudgeReward.score, iter(range(100))
    with ExitStack() as servers:

        def start(port: int = 0) -> FakeLLM:
            fake = servers.enter_context(running(port))
            fake.script(reply="tests.ranking_replies:by_merit")
            return fake

        os.environ["ZHUFU_LLM_BASE_URL"] = start().base_url

        def score_and_stop(reward: JudgeReward, requests: Sequence[str], greetings: Sequence[str]) -> RewardValues:
            number = next(scored)
            if number == 1:
                servers.close()
            if number == 3:
                start(int(os.environ["ZHUFU_LLM_BASE_URL"].split(":")[2].removesuffix("/v1")))
            return score(reward, requests, greetings)

        JudgeReward.score = score_and_stop
        try:
            return run(out, judged_by="ranking", unscored_rollouts=3, **settings)
        finally:
            JudgeReward.score = score


def main(out: Path) -> dict[str, Any]:
    """Every scenario by name."""
    quick = {"max_steps": 2, "gold": "off", "beta": 0.0}
    return {
        "whole": run(out / "whole", beside=Ticking()),
        "interrupted": run(out / "resumed", stop_at=2, beside=Ticking()),
        "resumed": run(out / "resumed", beside=Ticking()),
        "lora": run(out / "lora", lora_rank=2, lora_dropout=0.0, max_steps=2, gold="off"),
        "dropout": run(out / "dropout", lora_rank=2, lora_dropout=0.5, max_steps=1, gold="off"),
        "capped": capped(out / "capped", max_steps=20, gold="off", beta=0.0),
        "failing": run(out / "failing", reward=Odd(_fail), **quick),
        "ngram": run(out / "ngram", judged_by="ngram", binary=True, max_steps=2, beta=0.0),
        "constant": run(out / "constant", reward=Odd(lambda texts: [1.0] * len(texts)), **quick | {"max_steps": 20}),
        "same": run(out / "same", reward=_same(), **quick | {"max_steps": 3}),
        "unauthorised": run(out / "unauthorised", judged_by="principle", **quick),
        "vllm": run(out / "vllm", vllm="colocate", **quick),
        "torn_rm": run(out / "torn_rm", reward_artifact=str(torn_rm(out / "half")), **quick),
        "missing_rm": run(out / "missing_rm", reward_artifact=str(out), **quick),
        "spread": run(out / "spread", processes=64, prompts=64, batch_size=1, **quick),
        "too_many": run(out / "too_many", prompts=600, batch_size=600, **quick),
        "refused": refused(out / "refused", **quick | {"max_steps": 20}),
        "resampled": resampled(out / "resampled"),
        "templates": templates(out),
        "compared": compared(out / "compared", **quick),
        "outage": outage(out / "outage", **quick | {"max_steps": 5}),
        "contract": contract(out / "contract"),
        "torn": torn(out / "torn"),
    }


if __name__ == "__main__":
    results = main(Path(sys.argv[1]))
    (Path(sys.argv[1]) / "results.json").write_text(json.dumps(results), "utf-8")
