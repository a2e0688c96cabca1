"""Every figure that pages show of the golden home, as plain values under names that stay."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import text

from backend.core.enums import ArtifactKind, PairState, Role
from backend.core.stored_records import stored_json
from backend.judges.base import JudgeKind, PairSample, Sample
from backend.judges.registry import ExampleRequest
from backend.judges.scoring.run import run_blocking
from backend.preferences.plan import CandidatePlan
from backend.preferences.records import PairFilter, PairRequest, PromptSource, SourceKind
from backend.principles.rulings import constant_detector, count_fooling, explain_decision, explain_uses
from backend.starter.bank import load_bank as load_bank
from backend.starter.compose import compose_rows as composed_rows
from backend.training.history import HistoryCache, JobHistory
from backend.training.service import TrainingService, decide_offer
from backend.training.settings import SETTINGS_CLASSES, find_presets, settings_for
from backend.training.snapshot import SnapshotOptions, export_snapshot
from tests.golden.looks.home import GAMES, MAIN, RATERS, RUNS, VISITORS, House
from tests.golden.plain import plain, shortened
from ui.components.language import Translator
from ui.playground import routes
from ui.principles import figures
from ui.principles.versions import version_tree


def board(house: House, reference: str) -> dict[str, Any]:
    """The whole agreement board; texts that stand in the corpus by number alone."""
    found = house.board.board(reference)
    value = plain(found, "points", "worst")
    value["points"] = {key: [[one.human, one.judge] for one in some] for key, some in found.points.items()}
    value["worst"] = {
        key: [[one.item_id, one.greeting_id, one.human, one.judge, one.gap, one.reason] for one in some]
        for key, some in found.worst.items()
    }
    return dict(shortened(value))


def corpus(house: House) -> dict[str, Any]:
    """Counts, data sets, facets and pages of prompts."""
    look = house.corpus
    names = [info.name for info in look.datasets()]
    return {
        "counts": look.counts(),
        "datasets": plain(look.datasets()),
        "facets": {name or "all": plain(look.facets(name)) for name in (None, *names)},
        "pages": {
            "first": shortened(plain(look.browse(size=8))),
            "labelled": shortened(plain(look.browse("短评", page=2, size=6))),
            "searched": shortened(plain(look.browse(search="奶奶", size=4))),
            "tagged": shortened(plain(look.browse("seed", occasion="生日", size=4))),
        },
    }


def campaigns(house: House) -> dict[str, Any]:
    """Campaigns, every person's bar, and the histories of the first items of each."""
    found = house.annotation.campaigns()
    bars = {
        f"{info.name} / {name}": plain(house.annotation.progress(info.id, rater))
        for info in found
        for name, rater in RATERS.items()
    }
    return {"campaigns": plain(found), "progress": bars, "items": _items(house, [info.id for info in found])}


def _items(house: House, campaigns_: Sequence[int]) -> list[Any]:
    with house.database.read() as session:
        rows = session.execute(text("SELECT id, campaign_id FROM items ORDER BY campaign_id, position")).all()
    chosen = [id_ for campaign in campaigns_ for id_ in [row[0] for row in rows if row[1] == campaign][:6]]
    return [shortened(plain(house.annotation.item(id_))) for id_ in sorted(chosen)]


def judges(house: House) -> dict[str, Any]:
    """The catalogue, what names resolve to, what judges would send, and two judges side by side."""
    catalog = house.scoring.catalog
    found = catalog.judges()
    names = sorted({info.name for info in found if info.spec} | set(JudgeKind))
    sample = Sample("给奶奶的八十大寿祝福", "奶奶，祝您福如东海，笑口常开。")
    two = PairSample(sample.prompt, sample.greeting, "祝您生日快乐。")
    asking = ("看真诚", "rubric", "pairwise", "panel", "看范例的评审团")
    return {
        "judges": plain(found),
        "resolved": {str(name): plain(stored_json(catalog.resolve(name))) for name in names},
        "sent": {
            name: house.scoring.preview(catalog.resolve(name, MAIN), two if name == "pairwise" else sample)
            for name in asking
        },
        "on_cards": house.card_judges.judge_names(),
        "beside": _beside(house, {info.id: info.name for info in found}),
        "said": {str(number): shortened(plain(house.board.verdicts_on(number))) for number in (1, 100, 130, 500)},
    }


def _beside(house: House, names: Mapping[int, str]) -> dict[str, Any]:
    pairs = ((9, 10), (9, 11), (9, 12), (15, 17), (21, 22))
    return {
        f"{names[a]} {a} / {names[b]} {b}, {'where they part' if differ else 'all'}": shortened(
            plain(house.scoring.compare_judges(a, b, only_disagreements=differ, limit=4))
        )
        for a, b in pairs
        for differ in (False, True)
    }


def pair_runs(house: House) -> dict[str, Any]:
    """Runs with funnel, lines, lost candidates, table under every filter, and what more would take."""
    pairs = house.pairs
    filters = {state.value: PairFilter(state=state) for state in PairState}
    filters |= {"overturned": PairFilter(overturned=True), "searched": PairFilter(search="生日")}
    filters |= {"other": PairFilter(generator="另一个模型"), "all": PairFilter()}
    judge = house.scoring.catalog.resolve("panel", MAIN)
    wish = PairRequest(PromptSource(SourceKind.DATASET, "seed", 10), CandidatePlan((MAIN,)), judge)
    return {
        "runs": plain(pairs.runs(), "seconds"),
        "seconds": {one.name: one.seconds > 0 for one in pairs.runs()},
        "funnels": {str(run): plain(pairs.funnel(run)) for run in RUNS},
        "lines": {str(run): plain([one for one in pairs.prompt_lines(run) if one.lost]) for run in RUNS},
        "lost": plain(pairs.faulty_candidates(4, "garbage")),
        "tables": {
            f"{run} {name}": [[row.id, row.state.value, row.by.value, row.difference, row.overturned] for row in some]
            for run in RUNS
            for name, wish_ in filters.items()
            if (some := pairs.pair_page(run, wish_, 0, 100).rows)
        },
        "estimate": plain(pairs.estimate(wish)),
    }


def debates(house: House) -> list[Any]:
    """Every pair with both debates, decisions and calls."""
    found = [row.id for run in RUNS for row in house.pairs.pair_page(run, PairFilter(), 0, 100).rows]
    return [shortened(plain(house.pairs.pair_detail(id_))) for id_ in sorted(found)]


def ablation(house: House) -> Any:
    """The panel without each of its agents beside labels."""
    return plain(house.ablation.table(house.scoring.catalog.resolve("panel"), "小集"))


def games(house: House) -> dict[str, Any]:
    """Runs, steps, open cases, uses of locked labels, reports, comparisons, estimates."""
    evolution = house.evolution
    steps = {run: evolution.steps(run) for run in GAMES}
    request = game_request(house, 1)
    return {
        "runs": list(map(_as_one_line, plain(evolution.runs()))),
        "steps": {f"{run}.{one.round}.{one.phase}": shortened(plain(one)) for run in GAMES for one in steps[run]},
        "open": {str(run): shortened(plain(evolution.open_cases(run))) for run in GAMES},
        "uses": {str(run): plain([one := evolution.uses(run), explain_uses(one, 0.05)]) for run in GAMES},
        "constant": {str(run): plain(constant_detector(steps[run])) for run in GAMES},
        "report": plain(evolution.report([1, 2])),
        "comparisons": plain([evolution.comparisons.comparison(number) for number in (1, 2)]),
        "estimate": plain(evolution.estimate(request)),
    }


def _as_one_line(run: dict[str, Any]) -> dict[str, Any]:
    """Where a run is, or what it waits for: one field before revision 0014, two since."""
    phase, message = run.pop("phase"), run.pop("message")
    assert phase is None or not message, "a run says one of the two"
    return {**run, "told": message if phase is None else phase}


def game_request(house: House, run: int) -> Any:
    """What the run was asked for."""
    from backend.core.enums import Agent
    from backend.principles.records import RunRequest

    return RunRequest("world", house.evolution.run(run).settings, dict.fromkeys(Agent, MAIN))


def archive(house: House) -> dict[str, Any]:
    """Versions in and out of runs, differences between neighbours, what is current and why versions fell."""
    kept = house.evolution.archive
    versions = kept.versions()
    return {
        "versions": [shortened(plain(one)) for one in versions],
        "of_runs": {str(run): [one.id for one in kept.versions(run)] for run in GAMES},
        "told": {str(one.id): plain(explain_decision(one.why, one.facts)) for one in versions if one.why},
        "current": {role.value: kept.current(role) for role in Role},
        "diffs": {
            f"{one.parent}-{one.id}": kept.diff(one.parent, one.id) for one in versions if one.parent is not None
        },
    }


def game_words(house: House) -> dict[str, list[str]]:
    """What the page of a game counts by itself: fooling by kind, scores, the tree, the compared versions."""
    versions, translate = house.evolution.archive.versions(1), Translator("en")
    comparison = house.evolution.comparisons.comparison(1)
    drawn = {
        "fooling": figures.fooling_table(translate, count_fooling(house.evolution.steps(1))),
        "curve": figures.gate_curve(translate, versions),
        "tree": version_tree(translate, house.evolution.archive.versions(), None),
        "comparison": figures.comparison_html(translate, comparison.result),
    }
    # Templates write an apostrophe as `&#39;`, `html.escape` as `&#x27;`: the same to a reader.
    return {name: re.findall(r"[^<>]+(?=<)", str(html).replace("&#39;", "&#x27;")) for name, html in drawn.items()}


def playground(house: House) -> dict[str, Any]:
    """Rounds as served, tallies, generators, the starter's offer."""
    rounds = [view for visitor in VISITORS for view in house.play.recent(visitor, 20)]
    return {
        "rounds": [routes.round_json(view) for view in rounds],
        "tallies": plain(house.play.tallies()),
        "generators": plain(house.generators.generators()),
        "offer": plain(decide_offer(house.jobs, "offer"), "job"),
        "starter_blocked": plain(TrainingService(house.jobs).why_starter_blocked()),
    }


def costs(house: House) -> dict[str, Any]:
    """Calls, tokens and costs of the ledger by scope and endpoint, and endpoints as listed."""
    with house.database.read() as session:
        rows = session.execute(
            text(
                "SELECT scope, endpoint, model, error, count(*), sum(tokens_in), sum(tokens_out), sum(cost), "
                "max(attempt) FROM llm_calls GROUP BY scope, endpoint, model, error ORDER BY 1, 2, 3, 4"
            )
        ).all()
    return {"ledger": [list(row) for row in rows], "endpoints": plain(house.endpoints.endpoints())}


def _history(history: JobHistory) -> dict[str, Any]:
    return {
        "lines": [one.log_line for one in history.messages],
        "metrics": plain(history.metrics),
        "samples": plain(history.samples),
    }


def jobs(house: House) -> dict[str, Any]:
    """Jobs with states and errors, events, logs, curves, artifacts."""
    found = house.jobs.jobs()
    histories = HistoryCache(house.jobs)
    return {
        "jobs": plain(found, "progress_message"),
        "resumable": {str(job.id): [job.ended, job.resumable] for job in found},
        "events": {str(job.id): plain(house.jobs.events(job.id)) for job in found},
        "logs": {str(job.id): house.jobs.log_tail(job.id, 40) for job in found},
        "curves": {str(job.id): _history(histories.load_history(job.id)) for job in found},
        "artifacts": plain(house.jobs.artifacts()),
        "by_kind": {kind.value: [one.id for one in house.jobs.artifacts(kind)] for kind in ArtifactKind},
        "workers": plain(house.jobs.workers()),
    }


def examples(house: House) -> dict[str, Any]:
    """What a panel is shown for a request, by words and by meaning; vectors come from the home's file."""
    by_words, by_meaning = (house.examples.open_retriever(ExampleRequest(3, name)) for name in (None, "另一个模型"))
    asked = ("给奶奶的八十大寿祝福", "给老师的教师节写一句", "乔迁之喜送给邻居")
    return {
        "index": [by_words.index.name, len(by_words.index), by_words.index.greeting_count],
        "versions": [by_words.version, by_meaning.version],
        "by_words": {prompt: plain(run_blocking(by_words.retrieve(prompt, ""))) for prompt in asked},
    }


def training(house: House) -> dict[str, Any]:
    """Presets and defaults of every program, and snapshots of data with their hashes."""
    options = {
        "everything": SnapshotOptions(),
        "panel": SnapshotOptions(panel_pairs=True),
        "run": SnapshotOptions(datasets=("第一批",), exclude=("只有请求",)),
        "balanced": SnapshotOptions(datasets=("seed", "外来偏好对"), length_balanced=True),
    }
    return {
        "presets": {
            f"{program} {name}": plain(settings_for(program, name, {}).model_dump(mode="json"))
            for program in SETTINGS_CLASSES
            for name in find_presets(program, with_older=True)
        },
        "snapshots": {
            name: plain(export_snapshot(house.database, house.settings.home, wish).manifest)
            for name, wish in options.items()
        },
    }


def starter(_: House) -> dict[str, Any]:
    """What the starter's writing corpus composes first."""
    bank = load_bank()
    rows = composed_rows(bank, 40, 7)
    return {"clauses": bank.count_clauses(), "rows": [[row.prompt, row.greeting] for row in rows]}


FIGURES: dict[str, Callable[[House], Any]] = {
    one.__name__: one
    for one in (
        corpus,
        campaigns,
        judges,
        pair_runs,
        debates,
        ablation,
        games,
        archive,
        game_words,
        playground,
        costs,
        jobs,
        examples,
        training,
        starter,
    )
}


def references(house: House) -> Any:
    """What can serve as a human reference, the newest first."""
    return plain(house.board.references())
