"""What is hashed to be found again, and what follows from a request's words."""

import json
from collections.abc import Callable
from typing import Any

from sqlalchemy import select, text

from backend.core import text as texts
from backend.core.enums import Role
from backend.core.settings import PROJECT_ROOT
from backend.core.signing import Signer
from backend.core.stored_records import stored_json
from backend.core.text import assign_split
from backend.corpus.occasion import detect_occasion
from backend.db.principle_tables import PrincipleRun
from backend.generation.near_duplicates import normal_greeting, normal_prompt
from backend.jobs.service import compute_sha256
from backend.judges.asking import JudgeModel, JudgeSampling, prompt_template
from backend.judges.base import JudgeKind, JudgeSpec, version_of
from backend.judges.crossfit import fold_of_prompt
from backend.judges.registry import judge_prompt_hashes
from backend.judges.reward_model import folder_hash
from backend.llm.client import request_key
from backend.llm.embeddings import EmbeddingClient
from backend.llm.messages import ChatMessage, Endpoint
from backend.llm.prompts import UntrustedText, compose_message, derive_nonce
from backend.preferences.candidates import prompt_drop_reason
from backend.preferences.candidates import writing_template as writing_template
from backend.preferences.intake import parse_request
from backend.preferences.plan import CandidatePlan
from backend.principles.algorithm import rules as game_prompts
from backend.principles.algorithm.labels import partition_of
from backend.principles.algorithm.rules import RuleSet, starting_rules
from backend.principles.dealing import partitions_hash as labels_hash
from backend.principles.dealing import read_partitions
from tests.golden.looks.home import MAIN, WISHES, House
from tests.golden.plain import plain


def judge_versions(house: House) -> dict[str, str]:
    """Versions of every kind of judge for fixed settings, and of the baselines for the present corpus."""
    sampling = {"temperature": 0.4, "max_tokens": 300, "seed": 3}
    panel = {"examples": 0}
    specs = {
        "principle": JudgeSpec(JudgeKind.PRINCIPLE, "p", MAIN),
        "principle, own rules": JudgeSpec(JudgeKind.PRINCIPLE, "p", MAIN, {"principles": ["真诚", "具体"]}),
        "principle, sampling": JudgeSpec(JudgeKind.PRINCIPLE, "p", "另一个模型", sampling),
        "rubric": JudgeSpec(JudgeKind.RUBRIC, "r", MAIN),
        "pairwise": JudgeSpec(JudgeKind.PAIRWISE, "w", MAIN),
        "ranking": JudgeSpec(JudgeKind.RANKING, "n", MAIN),
        "ranking, both orders": JudgeSpec(JudgeKind.RANKING, "n", MAIN, {"both_orders": True, "per_call": 8}),
        "panel": JudgeSpec(JudgeKind.PANEL, "a", MAIN, panel),
        "panel, no judge": JudgeSpec(JudgeKind.PANEL, "a", MAIN, {**panel, "judge": False}),
        "panel, no review": JudgeSpec(JudgeKind.PANEL, "a", MAIN, {**panel, "reflect": False}),
        "panel, own endpoint": JudgeSpec(JudgeKind.PANEL, "a", MAIN, {"endpoints": {"judge": "另一个模型"}}),
        "panel, examples": JudgeSpec(JudgeKind.PANEL, "a", MAIN, {"examples": 2, "index": "6898b5fa5ed9"}),
    }
    found = {name: house.scoring.describe_judge(spec).version for name, spec in specs.items()}
    return found | {judge.name: judge.version for judge in house.scoring.trivial_judges()}


def prompt_hashes(_: House) -> dict[str, Any]:
    """The hash of every prompt text, and which of them each kind of judge asks with."""
    folder = PROJECT_ROOT / "backend" / "judges" / "prompts"
    named = [path.stem for path in sorted(folder.glob("*.txt")) if path.stem != "principles_start"]
    game = PROJECT_ROOT / "backend" / "principles" / "algorithm" / "prompts"
    return {
        "judges": {name: prompt_template(name).template_hash for name in named},
        "game": {path.stem: game_prompts.prompt_file(path.stem).template_hash for path in sorted(game.glob("*.txt"))},
        "write": writing_template().template_hash,
        "kinds": {kind.value: judge_prompt_hashes(kind) for kind in JudgeKind},
        "starts": {role.value: [starting_rules(role).hash, plain(starting_rules(role).stored_rules)] for role in Role},
    }


def readings(_: House) -> dict[str, Any]:
    """What follows from a request's words: identity, split, fold, part, wish, occasion, normal forms."""
    return {
        wish: {
            "digest": texts.digest(wish),
            "squeezed": texts.strip_white_space(wish),
            "length": texts.count_characters(wish),
            "bucket": texts.assign_bucket(wish, 1000, "salt"),
            "split": assign_split(wish).value,
            "fold": fold_of_prompt(wish),
            "part": partition_of(wish).value,
            "occasion": detect_occasion(wish),
            "wish": plain(parse_request(wish)),
            "lost": prompt_drop_reason(parse_request(wish)),
            "normal_prompt": normal_prompt(wish),
            "normal_greeting": normal_greeting(wish),
        }
        for wish in WISHES
    }


def keys(house: House) -> dict[str, Any]:
    """Keys of calls, of fences, of cookies, of files: everything that is hashed to be found again."""
    endpoint = Endpoint("e", "http://127.0.0.1:1/v1", "m")
    trained = Endpoint("e", "http://127.0.0.1:1/v1", "m", artifact="artifact:3")
    message = ChatMessage("user", "你好")
    fenced = compose_message(
        prompt_template("rubric"),
        b"k" * 32,
        prompt=UntrustedText("请求", "请求"),
        greeting=UntrustedText("好"),
    )
    shape = {"params": {"temperature": 0.0, "max_tokens": 64}, "schema": None, "variant": ""}
    given = {
        "plain": (endpoint, "scope", [message], shape),
        "trained": (trained, "scope", [message], shape),
        "fenced": (endpoint, "scope", [fenced], shape),
        "variant": (endpoint, "scope", [message], {**shape, "variant": "retry-1"}),
    }
    folder = house.settings.home / "artifacts" / "policy"
    return {
        "calls": {name: request_key(*parts) for name, parts in given.items()},
        "embeddings": EmbeddingClient(endpoint, house.settings.home / "none.db")
        ._build_request(["甲", "乙"])
        .request_hash,
        "identity": fenced.identity,
        "fenced": fenced.content,
        "nonce": derive_nonce(b"k" * 32, "identity"),
        "digest": [texts.digest("a", "b"), texts.digest("ab"), texts.digest()],
        "version_of": version_of({"b": 1, "a": "好", "c": [1.0, None]}),
        "model": plain(JudgeModel("http://x/v1/", "m", JudgeSampling(0.5, 10, 2)).identity),
        "cookie": Signer(house.settings.home, "zhufu-rater").sign(6),
        "folders": [compute_sha256(folder), folder_hash(folder)],
        "recipes": [plain(stored_json(one)) for one in CandidatePlan(("a", "b"), 3).prompt_recipes(5)],
    }


def stored_hashes(house: House) -> dict[str, Any]:
    """How many stored hashes and splits today's code would give again, per table."""
    with house.database.read() as session:
        prompts = session.execute(text("SELECT text, text_hash, split FROM prompts")).all()
        greetings = session.execute(text("SELECT text, text_hash FROM greetings")).all()
        rules = session.execute(text("SELECT role, rules, rules_hash FROM principles")).all()
        runs = session.scalars(select(PrincipleRun).order_by(PrincipleRun.id)).all()
        deals = [[run.labels_hash, labels_hash(read_partitions(session, run.labels))] for run in runs]
    return {
        "prompts": [len(prompts), sum(texts.digest(one) == known for one, known, _ in prompts)],
        "splits": [len(prompts), sum(assign_split(one).value == known for one, _, known in prompts)],
        "greetings": [len(greetings), sum(texts.digest(one) == known for one, known in greetings)],
        "rules": [[known, RuleSet.from_stored(Role(role), json.loads(some)).hash] for role, some, known in rules],
        "labels": deals,
        "artifacts": [[one.sha256, compute_sha256(one.path)] for one in reversed(house.jobs.artifacts())],
        "judges": [
            [info.id, info.name, info.version, house.scoring.describe_judge(info.spec).version]
            for info in reversed(house.scoring.catalog.judges())
            if info.spec is not None
        ],
    }


HASHES: dict[str, Callable[[House], Any]] = {
    one.__name__: one for one in (judge_versions, prompt_hashes, readings, keys, stored_hashes)
}
