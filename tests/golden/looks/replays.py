"""What can be done once more out of the ledger alone."""

from typing import Any

from sqlalchemy import delete, select, text

from backend.annotation.records import CampaignSpec
from backend.core.enums import CampaignKind
from backend.db.tables import Comparison, Item, Verdict
from backend.judges.base import Sample
from backend.judges.examples import ExampleService
from backend.judges.registry import ExampleRequest
from backend.judges.scoring.records import ScoreRequest
from backend.judges.scoring.run import run_blocking
from backend.judges.scoring.targets import ScoringTarget, TargetKind
from backend.preferences.records import PairFilter
from tests.golden.looks.home import House
from tests.golden.plain import plain, shortened

ASKED_JUDGES = (9, 10, 11, 12, 13, 15, 16, 17, 18, 19, 21)


def scored_again(house: House, judge: int) -> dict[str, Any]:
    """Forget what a judge said, let it score one of its targets again, and where that differs.

    `before` counts what it had said of all its targets. Of revisions only the first is asked for again.
    """
    before, target = _forgotten(house, judge)
    spec = house.scoring.catalog.judge(judge).spec
    assert spec is not None
    done = house.scoring.run(ScoreRequest(spec, target))
    after = _said(house, judge)
    differ = sorted(key for key in after if before.get(key) != after[key])
    kept = {"judge": done.judge, "version": done.version, "state": done.state.value, "calls": done.calls}
    return {**kept, "before": len(before), "again": len(after), "differ": differ}


def _forgotten(house: House, judge: int) -> tuple[dict[str, Any], ScoringTarget]:
    """What the judge said at first of one target, which is then forgotten."""
    target = ScoringTarget(*_TARGETS[judge])
    before = _said(house, judge)
    with house.database.write() as session:
        session.execute(text("UPDATE reviews SET verdict_id = (SELECT min(id) FROM verdicts)"))
        session.execute(text("PRAGMA defer_foreign_keys = ON"))
        for table in (Verdict, Comparison):
            session.execute(delete(table).where(table.rater_id == judge))
    return before, target


_DATA, _ROUND = TargetKind.DATASET, TargetKind.CAMPAIGN
_TARGETS: dict[int, tuple[TargetKind, str]] = {
    9: (_DATA, "短评"),
    10: (_DATA, "短评"),
    11: (_DATA, "外来偏好对"),
    12: (_DATA, "短评"),
    13: (_ROUND, "哪条更好"),
    **dict.fromkeys((15, 16, 17, 18, 19), (_DATA, "小集")),
    21: (_DATA, "第一批"),
}


def _said(house: House, judge: int) -> dict[str, Any]:
    with house.database.read() as session:
        singles = session.execute(
            select(Verdict.greeting_id, Verdict.value, Verdict.reason).where(
                Verdict.rater_id == judge, Verdict.revision == 0
            )
        ).all()
        pairs = session.execute(
            select(Comparison.item_id, Comparison.outcome, Comparison.reasons).where(
                Comparison.rater_id == judge, Comparison.revision == 0
            )
        ).all()
    said = {f"greeting {row[0]}": [row[1], row[2]] for row in singles}
    return said | {f"item {row[0]}": [row[1].value, row[2]] for row in pairs}


def run_goes_on(house: House) -> dict[str, Any]:
    """The run of pairs that its cap cut short, played on to its end out of the ledger."""
    run = house.pairs.find_run("半途的一批")
    before = run.calls
    done = house.pairs.run(house.pairs.update_caps(run.id, max_calls=10_000).id)
    rows = house.pairs.pair_page(run.id, PairFilter(), 0, 200).rows
    return {
        "state": done.state.value,
        "calls": done.calls - before,
        "funnel": plain(house.pairs.funnel(run.id)),
        "report": plain(house.pairs.find_run(run.id).report),
        "versions": house.pairs.find_run(run.id).judge_version,
        "pairs": [shortened(plain([row.prompt, row.chosen, row.rejected, row.state])) for row in rows],
    }


_UNDONE = (
    "DELETE FROM pair_decisions WHERE pair_id IN (SELECT id FROM run_pairs WHERE run_id = :run)",
    "DELETE FROM preference_pairs WHERE dataset_id = (SELECT dataset_id FROM pair_runs WHERE id = :run)",
    "UPDATE campaigns SET name = 'before' WHERE id IN (SELECT campaign_id FROM run_pairs WHERE run_id = :run)",
    "DELETE FROM run_pairs WHERE run_id = :run",
    "UPDATE candidates SET twice = 0 WHERE run_id = :run",
    "UPDATE pair_runs SET stage = 'judging', report = '{}' WHERE id = :run",
)
"""As if a run had only judged: no pairs, and its campaign out of the way."""


def paired_again(house: House, run: int) -> dict[str, Any]:
    """A run that is done makes its pairs once more: what is balanced, kept and handed to people."""
    before = _pairs(house, run)
    with house.database.write() as session:
        for statement in _UNDONE:
            session.execute(text(statement), {"run": run})
    done = house.pairs.run(run)
    again = _pairs(house, run)
    return {"state": done.state.value} | {name: before[name] == again[name] for name in before}


def _pairs(house: House, run: int) -> dict[str, Any]:
    queries = {
        "pairs": "SELECT chosen_id, rejected_id, difference, campaign_id IS NULL FROM run_pairs "
        "WHERE run_id = :run ORDER BY chosen_id, rejected_id",
        "twice": "SELECT id FROM candidates WHERE run_id = :run AND twice ORDER BY id",
        "items": "SELECT position, prompt_id, greeting_a_id FROM items WHERE campaign_id IN "
        "(SELECT campaign_id FROM run_pairs WHERE run_id = :run) ORDER BY position",
        "report": "SELECT report FROM pair_runs WHERE id = :run",
    }
    with house.database.read() as session:
        return {name: session.execute(text(one), {"run": run}).all() for name, one in queries.items()}


def indexed_again(house: House) -> dict[str, Any]:
    """The index of liked greetings built anew from the corpus, and what it finds."""
    stored = house.examples.index().name
    for stamp in (house.settings.home / "examples").glob("*.stamp"):
        stamp.unlink()
    fresh = ExampleService(house.database, house.settings.home, house.endpoints)
    retriever = fresh.open_retriever(ExampleRequest(5))
    found = run_blocking(retriever.retrieve("给奶奶的八十大寿祝福", ""))
    return {
        "stored": stored,
        "fresh": retriever.index.name,
        "entries": retriever.index.greeting_count,
        "found": plain(found),
    }


def drawn(house: House) -> dict[str, Any]:
    """What new campaigns of fixed seeds ask: sampling, order, and which greeting is A."""
    compare, validate = CampaignKind.COMPARE, CampaignKind.VALIDATE
    both = ("写祝福 · fake · 示例模型", "写祝福 · other · 另一个模型")
    specs = {
        "compare": (_campaign("新的对比", compare, ("seed", "短评")), None),
        "validate": (_campaign("新的评判", validate, ("短评",), judge="rubric"), None),
        "tagged": (_campaign("只要生日", compare, (), occasion="生日"), None),
        "across": (_campaign("两个模型", compare, both), both),
    }
    found = {}
    for name, (wish, across) in specs.items():
        made = house.annotation.create_campaign(wish, across)
        query = select(Item.greeting_a_id, Item.greeting_b_id).where(Item.campaign_id == made.id)
        with house.database.read() as session:
            found[name] = [list(row) for row in session.execute(query.order_by(Item.position))]
    return found


def _campaign(name: str, kind: CampaignKind, datasets: tuple[str, ...], **more: Any) -> CampaignSpec:
    fixed = {"k": 2, "instructions": "", "rubric": False, "limit": 20, "seed": 17}
    open_to_all = dict.fromkeys(("occasion", "recipient", "style", "judge"))
    return CampaignSpec(name=name, kind=kind, datasets=datasets, **{**fixed, **open_to_all, **more})


def game_again(house: House, run: int) -> Any:
    """A finished game once more from the ledger."""
    return plain(house.evolution.replay(run))


def comparison_again(house: House) -> dict[str, Any]:
    """The two compared versions read the same labels once more, from the ledger."""
    comparisons = house.evolution.comparisons
    old = comparisons.comparison(1)
    new = comparisons.play(comparisons.create(old.first, old.second, old.dataset, old.endpoint).id)
    return {"same": new.result == old.result, "result": plain(new.result)}


def tried_again(house: House, judge: int, most: int) -> list[Any]:
    """A judge asked on the page about the first greetings that it has judged: out of the ledger."""
    query = (
        "SELECT p.text, g.text, v.value, v.reason FROM verdicts v JOIN greetings g ON g.id = v.greeting_id "
        "JOIN prompts p ON p.id = g.prompt_id WHERE v.rater_id = :judge ORDER BY v.id LIMIT :most"
    )
    with house.database.read() as session:
        rows = session.execute(text(query), {"judge": judge, "most": most}).all()
    spec = house.scoring.catalog.judge(judge).spec
    assert spec is not None
    drafts = [house.scoring.judge_sample(spec, Sample(prompt, greeting)) for prompt, greeting, _, _ in rows]
    return [{"before": list(row[2:]), "now": shortened(plain(one))} for row, one in zip(rows, drafts, strict=True)]
