"""Judges of every kind over the golden home, runs of pairs, the game, the playground and jobs."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from backend.core.enums import Agent, ArtifactKind, CampaignKind, CardChange, JobStatus, PairState, Proposer
from backend.core.errors import UserError
from backend.core.stored_records import read_record
from backend.db.engine import Database
from backend.db.job_tables import Job
from backend.job_programs import JOB_PROGRAMS
from backend.jobs.outcome import PROGRAM_DISAPPEARED
from backend.jobs.records import JobOptions
from backend.jobs.worker import Worker
from backend.judges.base import JudgeKind, JudgeSpec
from backend.judges.scoring.records import ScoreRequest
from backend.judges.scoring.targets import ScoringTarget, TargetKind
from backend.llm.endpoints import EndpointInput
from backend.llm.messages import SchemaMode
from backend.playground.records import PlayRequest, RequestFields
from backend.preferences.ablation import without_agents
from backend.preferences.emit import redrawn_judge
from backend.preferences.intake import source_named
from backend.preferences.plan import CandidatePlan
from backend.preferences.records import HumanChecking, PairFilter, PairRequest
from backend.principles.algorithm.settings import GameSettings
from backend.principles.records import RunRequest
from backend.services import Services
from backend.training.service import TrainingService
from backend.training.snapshot import SnapshotOptions, export_snapshot
from tests.golden.corpus_scene import COMPARE, LITTLE, PEOPLE, SHORT, WORLD, answer_blind, compare_items
from tests.golden.replies import judged
from tests.llm_fixtures import FakeLLM
from tests.pair_helpers import prompts
from tests.pair_replies import BAD

MAIN, OTHER, ENGLISH, LOST_ONE, KEYED = "示例模型", "另一个模型", "只写英文", "失联的端点", "带钥匙的端点"
MODELS = ["fake", "other", "english", "same", *BAD]
REPLIES = "tests.golden.replies"
FIRST, CUT_SHORT, STANDING = "第一批", "半途的一批", "只要原则"
SMALL = {
    "rounds": 2,
    "labelled": 8,
    "attacks": 4,
    "duels": 8,
    "gate": 80,
    "locked": 24,
    "alpha": 0.2,
    "trim": 8,
}
VISITORS = ("a" * 32, "b" * 32)


def says(fake: FakeLLM, reply: str, **script: Any) -> None:
    """From now on the server answers so."""
    fake.script(reply=f"{REPLIES}:{reply}", models=MODELS, **script)


def connect(services: Services, fake: FakeLLM) -> None:
    """Endpoints: two good models, one that writes nothing usable, one that is gone, one with a key."""
    for name, model, more in (
        (MAIN, "fake", {"price_in": 0.5, "price_out": 1.5}),
        (OTHER, "other", {"price_in": 2.0, "price_out": 6.0}),
        (ENGLISH, "english", {"supports_schema": SchemaMode.NO}),
        (KEYED, "same", {"api_key": SecretStr("no-key-of-anybody"), "timeout_s": 30.0}),
        (LOST_ONE, "nobody-has-it", {}),
    ):
        services.endpoints.save(EndpointInput(name, fake.base_url, model, concurrency=1, **more))


def score_all(services: Services, fake: FakeLLM) -> None:
    """One judge a kind, versions, verdicts missing and asked for again, a judge that likes everything."""
    resolve = services.scoring.catalog.resolve
    short, little = (ScoringTarget(TargetKind.DATASET, name) for name in (SHORT, LITTLE))
    compare = ScoringTarget(TargetKind.CAMPAIGN, COMPARE)
    sincere = resolve("principle", MAIN, principles=["真诚", "贴合身份"]).with_name("看真诚")
    says(fake, "judge")
    _score(services, sincere, short)
    _score(services, sincere, compare)
    _score(services, resolve("principle", OTHER), short)
    says(fake, "judge", faults={"server_error": 0.1, "rate_limit": 0.1}, seed=4)
    newer = replace(sincere, config={"principles": ["真诚", "贴合身份", "不说套话"], "temperature": 0.3, "seed": 7})
    _score(services, newer, short, max_calls=40)
    says(fake, "second_reading")
    _score(services, resolve("principle", OTHER), short, retry_unscored=True)
    says(fake, "rubric")
    _score(services, resolve("rubric", MAIN), short)
    says(fake, "pairwise")
    _score(services, resolve("pairwise", MAIN), compare)
    _score(services, resolve("pairwise", MAIN), compare, retry_unscored=True)
    fake.script(reply="tests.judge_replies:always_good", models=MODELS)
    _score(services, resolve("principle", MAIN, principles=["都好"]).with_name("都说好"), little)
    says(fake, "panel")
    panel = services.scoring.with_examples(resolve("panel", MAIN))
    for one in (
        panel,
        *(without_agents(panel, [role]) for role in ("positive", "negative", "judge", "reflect")),
    ):
        _score(services, one, little)
    by_meaning = JudgeSpec(JudgeKind.PANEL, "看范例的评审团", MAIN, {"examples": 2, "embeddings": OTHER})
    by_meaning = replace(by_meaning, config={**by_meaning.config, "endpoints": {"reflect": OTHER}})
    _score(services, by_meaning, little, max_calls=30)


def _score(services: Services, spec: JudgeSpec, target: ScoringTarget, **options: Any) -> None:
    services.scoring.run(ScoreRequest(spec, target, **options))


def make_pairs(services: Services, fake: FakeLLM, files: Path) -> None:
    """Three runs: one with a second judge and people, one without balance, one cut short by its cap."""
    says(fake, "panel")
    lines = [
        *prompts(30),
        prompts(1)[0],
        f"{prompts(2)[1]}。",
        "你好",
        "Write a poem",
        "给妈妈写三条不同的生日祝福",
    ]
    source = files / "requests-of-pairs.txt"
    source.write_text("\n".join(lines), encoding="utf-8")
    panel = services.scoring.catalog.resolve("panel", MAIN)
    plan = CandidatePlan((MAIN, OTHER), 4)
    wish = PairRequest(
        source_named(str(source)),
        plan,
        panel,
        name=FIRST,
        checking=HumanChecking(0.5, 2),
        second=redrawn_judge(panel),
    )
    first = services.pairs.open(wish).id
    services.pairs.run(first)
    decide_pairs(services, first)
    alone = services.scoring.catalog.resolve("principle", MAIN)
    loose = {"balance_length": False, "balance_style": False, "checking": HumanChecking(0.4, 1)}
    plan = CandidatePlan((MAIN,), 3, (0.7,))
    seed = source_named("只有请求", 8)
    services.pairs.run(services.pairs.open(PairRequest(seed, plan, alone, name=STANDING, **loose)).id)
    cut = PairRequest(
        source_named(str(source), 12),
        CandidatePlan((MAIN,), 4),
        panel,
        name=CUT_SHORT,
        max_calls=30,
        seed=9,
        second=redrawn_judge(panel),
    )
    services.pairs.run(services.pairs.open(cut).id)


def decide_pairs(services: Services, run: int) -> None:
    """Two people answer what was handed out; a reviewer accepts, turns and discards pairs."""
    campaign = next(c for c in services.annotation.campaigns() if c.name == services.pairs.find_run(run).campaign)
    for name in PEOPLE[:2]:
        answer_blind(services, campaign, name, lambda text: judged(text, "readers"))
    services.pairs.settle(run)
    waiting = services.pairs.pair_page(run, PairFilter(state=PairState.REVIEW)).rows
    proposed = services.pairs.pair_page(run, PairFilter(state=PairState.PROPOSED)).rows
    for pair, action in zip(
        [*waiting[:2], *proposed[:3]], ("flip", "accept", "accept", "flip", "discard"), strict=False
    ):
        services.pairs.decide(pair.id, action, PEOPLE[2], "落选的更像说给这个人听的" if action == "flip" else "")


def play_games(services: Services, fake: FakeLLM) -> None:
    """Runs that are done (game, GEPA), wait, used up their cap, were stopped, failed; an archive by hand."""
    says(fake, "world")
    evolution, archive = services.evolution, services.evolution.archive
    done = evolution.play(evolution.create(_game()).id)
    evolution.play(evolution.create(_game(search="gepa", gepa_labels=6, gepa_calls=40, rounds=1)).id)
    waits = evolution.play(evolution.create(_game(confirm="person", rounds=1)).id)
    for case, there in zip(evolution.open_cases(waits.id), (True, False), strict=False):
        evolution.answer(waits.id, case.round, case.phase, case.number, there, PEOPLE[0])
    evolution.play(evolution.create(_game(max_calls=25, seed=3)).id)
    evolution.play(evolution.create(_game(seed=4)).id, is_stopped=lambda: True)
    evolution.create(_game(seed=5))
    with suppress(UserError):
        evolution.play(evolution.create(_game(endpoint=LOST_ONE)).id)
    best = archive.version(done.best or done.detector)
    texts = [*best.rules.texts[:-1], "称呼和落款要与请求里的身份一致。"]
    mine = archive.edit(best.id, texts, PEOPLE[0], "最后一条说得更明白些")
    archive.mark(mine.id, PEOPLE[0], "试用一周")
    archive.mark(best.id, PEOPLE[1], "还是原来的稳")
    archive.publish(best.id, "对局选出的裁判")
    made = evolution.comparisons.create(best.id, mine.id, WORLD, MAIN)
    evolution.comparisons.play(made.id)


def mark_again(services: Services) -> None:
    """The version by hand becomes current once more, so that the newest mark differs from the first."""
    archive = services.evolution.archive
    mine = next(one for one in archive.versions() if one.proposer is Proposer.PERSON)
    archive.mark(mine.id, PEOPLE[2], "读起来更清楚")


def _game(max_calls: int | None = None, endpoint: str = MAIN, **changes: Any) -> RunRequest:
    settings = read_record(GameSettings, {**SMALL, **changes})
    return RunRequest(WORLD, settings, dict.fromkeys(Agent, endpoint), max_calls=max_calls)


def write_greetings(services: Services, fake: FakeLLM) -> None:
    """Rounds of two visitors: likes, changes, faults; what was shown goes to people and to a judge."""
    says(fake, "play")
    wishes = ("给奶奶的八十大寿写一句", "给老师的教师节写一句", "给同事的新年写一句", "给妈妈的生日写一句")
    for number, text in enumerate(wishes):
        _played(services, PlayRequest((MAIN, OTHER), text, count=3, seed=11 + 20 * number), VISITORS[0])
    fields = RequestFields(occasion="乔迁", recipient="邻居", style="幽默", length="20字以内", personal="他家有一只猫")
    _played(services, PlayRequest((MAIN,), fields=fields, seed=5, sampling={"temperature": 0.5}), VISITORS[1])
    _played(services, PlayRequest((ENGLISH, KEYED), "写两条给哥哥的生日祝福", seed=6), VISITORS[1])
    services.play.recent(VISITORS[0])
    cards = [card for view in services.play.recent(VISITORS[0]) for card in view.cards if card.text]
    for number, card in enumerate(cards[:9]):
        services.play.signal(card.id, VISITORS[0], (1, -1, 0)[number % 3], f"signal-{number}")
    for card, change in zip(cards[:3], (CardChange.SHORTER, CardChange.AGAIN, CardChange.WARMER), strict=True):
        view = services.play.change(card.id, change, VISITORS[0])
        services.play.wait(view.token)
    single = services.flow.create_campaign([MAIN], CampaignKind.VALIDATE)
    pair = services.flow.create_campaign([MAIN, OTHER], CampaignKind.COMPARE)
    _label_written(services, single.id, pair.id)
    says(fake, "judge")
    sincere = services.scoring.catalog.resolve("看真诚")
    for name in (MAIN, OTHER):
        _score(services, sincere, ScoringTarget(TargetKind.DATASET, services.flow.update_dataset(name)))


def _played(services: Services, request: PlayRequest, visitor: str) -> None:
    services.play.wait(services.play.begin(request, visitor).token)


def _label_written(services: Services, single: int, pair: int) -> None:
    infos = {one.id: one for one in services.annotation.campaigns()}
    answer_blind(services, infos[single], PEOPLE[0], lambda text: judged(text, PEOPLE[0]))
    compare_items(services, infos[pair], PEOPLE[1], 40)


def run_jobs(services: Services, fake: FakeLLM) -> None:
    """Jobs of several kinds: done, failed in four ways, cancelled, paused, waiting, lost; what they left."""
    jobs, home = services.jobs, services.settings.home
    says(fake, "judge")
    jobs.submit("selftest", {"steps": 3})
    failing = [jobs.submit("selftest", {"steps": 3, name: 2}).id for name in ("fail_at", "error_at", "kill_at")]
    jobs.submit("selftest", {"steps": 1}, after_id=failing[0])
    spec = services.scoring.catalog.resolve("看真诚")
    services.scoring.submit(ScoreRequest(spec, ScoringTarget(TargetKind.DATASET, "外来偏好对"), max_calls=200))
    services.scoring.submit(ScoreRequest(replace(spec, endpoint=LOST_ONE), ScoringTarget(TargetKind.DATASET, LITTLE)))
    request = PairRequest(
        source_named("只有请求", 4),
        CandidatePlan((MAIN,), 3),
        spec,
        name="任务里的一批",
        checking=HumanChecking(0.0),
    )
    services.pairs.submit(request)
    archive = services.evolution.archive
    first, second = (one.id for one in archive.versions(1)[:3] if one.role.value == "S_D")
    services.evolution.comparisons.submit(first, second, LITTLE, MAIN)
    _work(services.database, home)
    jobs.run_again(1)
    _work(services.database, home)
    cancelled = jobs.submit("selftest", {"steps": 9})
    jobs.cancel(cancelled.id)
    paused = services.scoring.submit(ScoreRequest(spec, ScoringTarget(TargetKind.DATASET, WORLD), max_cost=0.5))
    jobs.pause(paused.id)
    training = TrainingService(jobs)
    sft = training.submit("sft", "starter_cpu", {"name": "小试", "max_steps": 40, "max_length": 64})
    model = training.submit("reward_model", "starter_cpu", {"name": "奖励", "base": "starter"}, 3)
    jobs.cancel(model.id)
    lost = jobs.submit("selftest", {"steps": 2}, priority=-1, parent_id=cancelled.id)
    with services.database.write() as session:
        row = session.get_one(Job, lost.id)
        row.status, row.error_en, row.error_zh, row.attempt = (
            JobStatus.LOST,
            PROGRAM_DISAPPEARED.en,
            PROGRAM_DISAPPEARED.zh,
            1,
        )
    _artifacts(services, sft.id)


def _work(database: Database, home: Path) -> None:
    options = JobOptions(poll_seconds=0.05, min_free_disk_mb=1, min_free_memory_mb=1, light_jobs=1)
    Worker(database, home, 0, "golden-worker", options=options, job_programs=JOB_PROGRAMS).run(once=True)


def _artifacts(services: Services, job: int) -> None:
    """Folders with the files that make them what they are, and no weights."""
    home, add = services.settings.home, services.jobs.add_artifact
    snapshot = export_snapshot(services.database, home, SnapshotOptions(datasets=("seed", FIRST)))
    add(ArtifactKind.DATASET_SNAPSHOT, "数据快照", snapshot.folder, job_id=job, data_hash=snapshot.hash)
    policy, reward = home / "artifacts" / "policy", home / "artifacts" / "reward"
    for folder in (policy, reward):
        folder.mkdir(parents=True)
        (folder / "config.json").write_text('{"model_type": "qwen3", "vocab_size": 4000}', encoding="utf-8")
    known = {"job_config": {"program": "sft", "lr": 0.005}, "metrics": {"eval_loss": 2.125, "perplexity": 8.373}}
    made = add(ArtifactKind.POLICY, "小试", policy, job_id=job, data_hash=snapshot.hash, **known)
    add(ArtifactKind.CHECKPOINT, "小试-20", policy / "config.json", job_id=job, parent_id=made.id)
    add(ArtifactKind.REWARD_MODEL, "奖励", reward, parent_id=made.id, metrics={"accuracy": 0.75})
    add(ArtifactKind.JUDGE, "裁判", reward / "config.json")
    trained = JudgeSpec(JudgeKind.REWARD_MODEL, "训练的裁判", None, {"path": str(reward)})
    services.scoring.catalog.save(trained)


@contextmanager
def remembered(home: Path, copy: Path) -> Iterator[Path]:
    """Lets a copy of the home play on; what the ledger learns there comes back, and nothing else.

    So whoever plays on from here finds every answer and needs no server.
    """
    shutil.copytree(home, copy)
    yield copy
    with closing(sqlite3.connect(home / "zhufu.db")) as opened, opened:
        opened.execute("ATTACH ? AS ahead", (str(copy / "zhufu.db"),))
        opened.execute("INSERT INTO llm_calls SELECT * FROM ahead.llm_calls WHERE id > (SELECT max(id) FROM llm_calls)")


def play_on(services: Services, fake: FakeLLM) -> None:
    """What a later look will do again: the run that was cut short goes on, the waiting game too."""
    says(fake, "panel")
    run = services.pairs.update_caps(services.pairs.find_run(CUT_SHORT).id, max_calls=10_000)
    services.pairs.run(run.id)
