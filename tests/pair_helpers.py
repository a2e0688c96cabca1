"""A house with scripted generators and a panel, and short ways to runs and what they left."""

import atexit
import random
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import select

from backend.core.enums import RaterKind, Scale
from backend.core.settings import Settings
from backend.db.base import insert_ignore
from backend.db.engine import Database
from backend.db.migrate import migrate
from backend.db.pair_tables import Candidate, PairRun
from backend.db.tables import PreferencePair, Rater, Verdict
from backend.generation.writer import WrittenGreeting
from backend.llm.endpoints import EndpointInput
from backend.preferences.ablation import without_agents
from backend.preferences.candidates import WrittenCandidate, load_unwritten, store_candidates
from backend.preferences.intake import filter_prompts, source_named
from backend.preferences.plan import CandidatePlan, CandidateRecipe
from backend.preferences.records import HumanChecking, PairRequest
from backend.services import Services, build_services
from tests.llm_fixtures import FakeLLM
from tests.pair_replies import BAD, composed

SCRIPT = {"reply": "tests.pair_replies:panel", "models": ["fake", "other", *BAD]}
WHO = ("奶奶", "爷爷", "老师", "同事", "闺蜜", "哥哥", "妹妹", "邻居", "导师", "战友")
WHAT = ("生日", "乔迁", "升学", "结婚", "退休", "康复", "新年", "中秋", "开业", "毕业")


@cache
def _migrated() -> Path:
    """A database that went through every migration, once for all houses of this process."""
    path = Path(tempfile.mkdtemp(prefix="zhufu-migrated-")) / "zhufu.db"
    atexit.register(shutil.rmtree, path.parent, ignore_errors=True)
    made = Database(f"sqlite:///{path}")
    migrate(made)
    made.close()
    return path


@contextmanager
def house(fake: FakeLLM, *models: str, **endpoint: Any) -> Iterator[Services]:
    """Services with an endpoint for "fake" and for every further model."""
    home = Settings.load().home
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "zhufu.db").exists():
        shutil.copy(_migrated(), home / "zhufu.db")
    services = build_services(Settings.load())
    for model in ("fake", *models):
        given = {"base_url": fake.base_url, "model": model, "price_in": 1.0, "price_out": 2.0, **endpoint}
        services.endpoints.save(EndpointInput(model, **given))
    try:
        yield services
    finally:
        services.close()


def prompts(count: int) -> list[str]:
    """Different requests, none near another."""
    return [f"给{_word(n)}{WHO[n % 10]}的{WHAT[n // 10 % 10]}祝福" for n in range(count)]


def _word(n: int) -> str:
    signs = "甲乙丙丁戊己庚辛壬癸子丑寅卯辰巳午未申酉戌亥天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏"
    return signs[n % 40] + signs[n // 40 % 40] + signs[n * 7 % 39] + signs[n * 11 % 37]


def prompts_file(services: Services, lines: list[str], name: str = "prompts.txt") -> str:
    """The lines as a file."""
    path = services.settings.home / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def request(services: Services, source: str, *generators: str, judge: str = "panel", **options: Any) -> PairRequest:
    """A run of one generator before the panel, without people unless they are asked for."""
    plan = {name: options.pop(name) for name in ("candidates", "temperatures") if name in options}
    given = {"checking": HumanChecking(0.0), **options}
    spec = without_agents(services.scoring.catalog.resolve(judge, "fake"), given.pop("off", ()))
    return PairRequest(source_named(source), CandidatePlan(generators or ("fake",), **plan), spec, **given)


def candidates(services: Services, run: int) -> list[Candidate]:
    """Every candidate of a run, in order."""
    with services.database.read() as session:
        query = select(Candidate).where(Candidate.run_id == run)
        return list(session.scalars(query.order_by(Candidate.run_prompt_id, Candidate.slot)))


def judged_run(services: Services, count: int) -> int:
    """A run of `count` prompts whose four candidates each are written and judged, without any call."""
    draw = random.Random(count)
    services.endpoints.save(EndpointInput("fake", "http://127.0.0.1:9/v1", "fake"))
    source = prompts_file(services, prompts(count))
    run = services.pairs.open(request(services, source, judge="principle")).id
    filter_prompts(services.database, run)
    scale = {"rater_id": 0, "scale": Scale.BINARY, "reason": ""}
    with services.database.write() as session:
        rater = Rater(kind=RaterKind.JUDGE, name="principle", version=f"filled-{run}", config={})
        session.add(rater)
        session.flush()
        session.get_one(PairRun, run).judge_id = scale["rater_id"] = rater.id
    while True:
        with services.database.read() as session:
            asked = load_unwritten(session, run, 500)
        if not asked:
            return run
        good = {(one.id, slot): draw.random() < 0.5 for one in asked for slot in range(4)}
        written = [(one, [_slot(draw, good[one.id, slot]) for slot in range(4)]) for one in asked]
        store_candidates(services.database, run, written)
        with services.database.write() as session:
            ids = [one.id for one in asked]
            found = session.execute(
                select(Candidate.run_prompt_id, Candidate.slot, Candidate.greeting_id).where(
                    Candidate.run_prompt_id.in_(ids)
                )
            )
            rows = [
                {**scale, "greeting_id": greeting, "value": float(good[prompt, slot])}
                for prompt, slot, greeting in found
            ]
            insert_ignore(session, Verdict, rows)


def _slot(draw: random.Random, good: bool) -> WrittenCandidate:
    text = composed(draw, good)
    return WrittenCandidate(CandidateRecipe("fake", 0.7), "fake", WrittenGreeting(text, 0), text, None)


def stored(services: Services) -> list[tuple[int, int]]:
    """Chosen and rejected greeting of every pair that training would read."""
    with services.database.read() as session:
        rows = session.execute(select(PreferencePair.chosen_id, PreferencePair.rejected_id))
        return sorted(rows.all())
