"""What goes into the golden home first: data sets of every kind, and people who label them."""

import csv
import json
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from backend.annotation.records import CampaignInfo, CampaignSpec, ComparisonInput, ItemView, ReviewInput, VerdictInput
from backend.core.enums import RUBRIC_WEIGHTS, CampaignKind, Flaw
from backend.core.settings import PROJECT_ROOT
from backend.services import Services
from tests.fake_llm import quality
from tests.golden.replies import judged
from tests.principles_helpers import world_file

PEOPLE = ("小林", "老周", "阿敏")
COMPARE, VALIDATE, TIED, CLOSED = "哪条更好", "优秀吗", "一人一条", "关了的一轮"
SHORT, LITTLE, WORLD = "短评", "小集", "world"
Row = dict[str, Any]


def import_all(services: Services, files: Path) -> None:
    """The seed's beginning, labels, clicks, pairs, examples, prompts, and a file with bad rows."""
    files.mkdir(parents=True, exist_ok=True)
    load = services.corpus.import_file
    services.corpus.load_seed(_seed(files / "seed"))
    load(_lines(files / f"{SHORT}.jsonl", _labels(12, 27)))
    load(_lines(files / f"{LITTLE}.jsonl", _labels(27, 30)))
    load(world_file(files, 240), dataset=WORLD)
    load(_table(files / "点赞.csv", _clicks()))
    load(_lines(files / "pairs.jsonl", _pairs()), dataset="外来偏好对")
    turned = [{**one, "chosen": one["rejected"], "rejected": one["chosen"]} for one in _pairs()[:2]]
    load(_lines(files / "turned.jsonl", turned), dataset="相反的看法")
    load(_array(files / "sft.json", _examples()), dataset="范文")
    load(_plain(files / "requests.txt", [row["prompt"] for row in _rows(40, 43)]), dataset="只有请求")
    bad = [
        {"query": "给表妹的升学祝福", "response": "", "label": 1},
        {"query": "", "response": "好", "label": 0},
    ]
    load(_lines(files / "bad.jsonl", [*_labels(43, 44), *bad]), dataset="有坏行", skip_bad=True)


def _rows(first: int, last: int) -> list[Row]:
    """Rows of the seed corpus at these places of each of its files."""
    found: list[Row] = []
    for file in sorted((PROJECT_ROOT / "data" / "seed").glob("*.jsonl")):
        lines = file.read_text(encoding="utf-8").splitlines()[first:last]
        found += [json.loads(line) for line in lines]
    return found


def _seed(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    for file in sorted((PROJECT_ROOT / "data" / "seed").glob("*.jsonl")):
        lines = file.read_text(encoding="utf-8").splitlines()[:12]
        (folder / file.name).write_text("\n".join(lines), encoding="utf-8")
    return folder


def _labels(first: int, last: int) -> list[Row]:
    """Both greetings of each row, with labels that follow the hidden quality but for a noise."""
    texts = [(row["prompt"], row[side], row["flaw"]) for row in _rows(first, last) for side in ("strong", "weak")]
    return [
        {
            "query": prompt,
            "response": text,
            "label": (good := judged(text, "people")),
            "reason": "" if good else flaw,
        }
        for prompt, text, flaw in texts
    ]


def _clicks() -> list[Row]:
    return [
        {
            "请求": row["prompt"],
            "祝福语": row["strong"],
            "点赞数": 3 + 7 * number % 11,
            "场合": row["occasion"],
        }
        for number, row in enumerate(_rows(30, 34))
    ]


def _pairs() -> list[Row]:
    """Pairs, and a text that stands under several requests."""
    made = [{"prompt": row["prompt"], "chosen": row["strong"], "rejected": row["weak"]} for row in _rows(34, 39)]
    shared = [{**one, "rejected": made[1]["rejected"]} for one in made[2:9]]
    return [*made, *shared]


def _examples() -> list[Row]:
    return [{"instruction": "写一条祝福", "input": row["prompt"], "output": row["strong"]} for row in _rows(39, 40)]


def _lines(path: Path, rows: Iterable[Row]) -> Path:
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    return path


def _array(path: Path, rows: Sequence[Row]) -> Path:
    path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    return path


def _plain(path: Path, lines: Iterable[str]) -> Path:
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def _table(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def spec(name: str, kind: CampaignKind, *datasets: str, **changes: Any) -> CampaignSpec:
    """A campaign over these data sets."""
    given = {
        "k": 3,
        "instructions": "凭感觉选，不必多想。",
        "rubric": False,
        "occasion": None,
        "recipient": None,
        "style": None,
        "limit": 36,
        "seed": 5,
        "judge": None,
    }
    return CampaignSpec(name=name, kind=kind, datasets=datasets, **{**given, **changes})


def compare_by_people(services: Services) -> None:
    """Three people compare: ties, skips, changed and undone answers; the last one stops half-way."""
    made = services.annotation.create_campaign(spec(COMPARE, CampaignKind.COMPARE, "seed", "外来偏好对"))
    for name, most in zip(PEOPLE, (36, 36, 15), strict=True):
        compare_items(services, made, name, most)
    one = services.annotation.create_campaign(spec(TIED, CampaignKind.COMPARE, SHORT, k=1, limit=24, seed=8))
    compare_items(services, one, PEOPLE[0], 24)
    closed = services.annotation.create_campaign(spec(CLOSED, CampaignKind.COMPARE, LITTLE, k=2, limit=6))
    compare_items(services, closed, PEOPLE[1], 4)
    services.annotation.close_campaign(closed.id)


def compare_items(services: Services, campaign: CampaignInfo, name: str, most: int) -> None:
    """One person's answers, of which some are changed and some taken back."""
    annotation, rater, draw = services.annotation, services.annotation.enter(name).id, random.Random(name)
    item = annotation.next_item(campaign.id, rater)
    for number in range(most):
        if item is None:
            return
        outcome = _outcome(item, draw)
        reasons = tuple(draw.sample([flaw.value for flaw in Flaw], draw.randrange(3)))
        given = ComparisonInput(
            campaign.id,
            item.item_id,
            outcome,
            f"{campaign.id}-{rater}-{number}",
            reasons,
            round(draw.uniform(2, 40), 1),
        )
        saved, following = annotation.compare_then_next(given, rater)
        if number % 9 == 4 and outcome != "skip":
            changed = ComparisonInput(
                campaign.id, item.item_id, "both_bad", f"{given.request_id}-changed", (), None, saved.revision
            )
            annotation.compare(changed, rater)
        if number % 11 == 7:
            following = annotation.undo(campaign.id, rater, f"{given.request_id}-undone")
        item = following


def _outcome(item: ItemView, draw: random.Random) -> str:
    left, right = quality(item.left), quality(item.right or "")
    if draw.random() < 0.25:
        return draw.choice(["a", "b", "both_good", "both_bad", "skip"])
    return "a" if left > right else "b" if right > left else draw.choice(["a", "b", "both_good"])


def validate_by_people(services: Services, judge: str) -> CampaignInfo:
    """Two people say what they think, with points, and review the judge; one has only begun."""
    wish = spec(VALIDATE, CampaignKind.VALIDATE, SHORT, judge=judge, rubric=True, k=2, limit=60, seed=6)
    made = services.annotation.create_campaign(wish)
    for name, most in zip(PEOPLE, (60, 60, 7), strict=True):
        answer_blind(services, made, name, lambda text, who=name: judged(text, who), most)
    return made


def answer_blind(
    services: Services, campaign: CampaignInfo, name: str, translate: Callable[[str], int], most: int = 1000
) -> None:
    """Blind verdicts of one person, reviews behind them, some passed over, changed or undone."""
    annotation, rater, draw = (
        services.annotation,
        services.annotation.enter(name).id,
        random.Random(f"v{name}"),
    )
    item = annotation.next_item(campaign.id, rater)
    for number in range(most):
        if item is None:
            return
        key = f"v{campaign.id}-{rater}-{number}"
        if item.reveal is not None:
            agrees = draw.choice([True, True, False, None])
            review = ReviewInput(campaign.id, item.item_id, agrees, key, "" if agrees else "理由不够具体")
            _, item = annotation.review_then_next(review, rater)
            continue
        value = None if campaign.rubric and number % 13 == 9 else translate(item.left)
        points = {one: draw.randint(1, 3) for one in RUBRIC_WEIGHTS} if campaign.rubric and value is not None else None
        given = VerdictInput(campaign.id, item.item_id, value, key, points)
        said, following = annotation.judge_then_next(given, rater)
        if value is not None and number % 10 == 6 and campaign.rubric:
            other = VerdictInput(campaign.id, item.item_id, 1 - value, f"{key}-changed", points, said.saved.revision)
            annotation.judge_blind(other, rater)
        if number % 17 == 8 and campaign.rubric:
            following = annotation.undo(campaign.id, rater, f"{key}-undone")
        item = following


def take_back(services: Services) -> None:
    """Last of all, answers that are taken back for good: a comparison, and a verdict with its review."""
    ids = {one.name: one.id for one in services.annotation.campaigns()}
    for name, person in ((COMPARE, PEOPLE[2]), (VALIDATE, PEOPLE[0])):
        services.annotation.undo(ids[name], services.annotation.enter(person).id, f"back-{ids[name]}")
    services.examples.index()
