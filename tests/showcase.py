"""A home with something on every page, for pictures: simulated raters, a scripted judge, a short training."""

import random
import time
import uuid
from pathlib import Path

import httpx

from backend.core.settings import Settings
from backend.judges.scoring.records import ScoreRequest
from backend.judges.scoring.targets import ScoringTarget, TargetKind
from backend.llm.endpoints import EndpointInput
from backend.preferences.plan import CandidatePlan
from backend.preferences.records import HumanChecking, PairFilter, PairRequest, PromptSource, SourceKind
from backend.services import SEED_DATASET, Services, build_services
from backend.training.service import TrainingService
from tests import principles_showcase
from tests.llm_fixtures import FakeLLM
from tests.pair_helpers import SCRIPT
from tests.real_app import App

RATERS = (("小林", 0.9), ("老周", 0.75))
TRAINING = {"name": "小试", "max_steps": 40, "eval_every": 10, "sample_every": 20, "max_length": 64}
WAIT_S = 240


def furnish(home: Path, fake: FakeLLM) -> None:
    """What can be there before the application starts: a judge that scored, a training in the queue."""
    services = build_services(Settings(home=home))
    services.prepare()
    connect(services, fake)
    _pairs(services, fake)
    connect(services, fake)
    _score(services)
    principles_showcase.play(services, fake, "示例模型")
    connect(services, fake)
    TrainingService(services.jobs).submit("sft", "starter_cpu", TRAINING)
    services.close()


def connect(services: Services, fake: FakeLLM) -> None:
    """An endpoint that writes greetings and judges them."""
    fake.script(reply="tests.greeting_replies:greeting_or_verdict")
    services.endpoints.save(EndpointInput("示例模型", fake.base_url, "fake", price_in=0.5, price_out=1.5))


def _pairs(services: Services, fake: FakeLLM) -> None:
    """A run of pairs, some of them with people, one overruled by a reviewer."""
    fake.script(**SCRIPT)
    spec = services.scoring.catalog.resolve("panel", "示例模型")
    seed = PromptSource(SourceKind.DATASET, SEED_DATASET, 80)
    wish = PairRequest(seed, CandidatePlan(("示例模型",)), spec, name="第一批", checking=HumanChecking(0.2))
    run = services.pairs.open(wish)
    services.pairs.run(run.id)
    first = services.pairs.pair_page(run.id, PairFilter()).rows[0]
    services.pairs.decide(first.id, "flip", "小林", "落选的更像说给这个人听的")


def _score(services: Services) -> None:
    spec = services.scoring.catalog.resolve("principle", "示例模型", principles=["真诚", "贴合身份"])
    spec = spec.with_name("看真诚")
    services.scoring.catalog.save(spec)
    campaign = next(info for info in services.annotation.campaigns() if info.kind == "compare")
    services.scoring.run(ScoreRequest(spec, ScoringTarget(TargetKind.CAMPAIGN, campaign.name)))


def inhabit(app: App) -> None:
    """What people and time add: two raters' labels, and the training at its end."""
    for name, care in RATERS:
        annotate(app, name, care)
    services = build_services(Settings(home=app.home))
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline and not all(job.ended for job in services.jobs.jobs()):
        time.sleep(1)
    services.close()


def annotate(app: App, name: str, care: float) -> None:
    """Label 40 comparisons; `care` is the share of answers that follow a rule, the rest are random."""
    choose = random.Random(name)
    with httpx.Client(base_url=f"{app.url}/api/annotation", timeout=20) as client:
        client.post("/enter", json={"name": name})
        found = client.get("/campaigns").json()["campaigns"]
        campaign = next(c["id"] for c in found if c["kind"] == "compare")
        item = client.post("/next", json={"campaign_id": campaign}).json()["next"]
        for _ in range(40):
            rule = "a" if item["left"].count("我") >= item["right"].count("我") else "b"
            outcome = rule if choose.random() < care else choose.choice(["a", "b", "both_good"])
            body = {"campaign_id": campaign, "item_id": item["item_id"], "outcome": outcome}
            item = client.post("/compare", json={**body, "request_id": uuid.uuid4().hex}).json()["next"]
