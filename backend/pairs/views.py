"""What pages and commands see of runs: the list, the funnel, pages of pairs, one debate in full."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import case, exists, func, or_, select
from sqlalchemy.orm import Session, aliased

from backend.db.pair_tables import Candidate, PairDecision, PairRun, RunPair, RunPrompt
from backend.db.tables import Campaign, Rater, Verdict
from backend.errors import NotFound
from backend.jobs.seat import playing
from backend.judges.constancy import Value, constant_notice
from backend.pairs.people import votes
from backend.pairs.records import (
    Again,
    Decision,
    Funnel,
    LostCandidate,
    PairDetail,
    PairFilter,
    PairPage,
    PairRequest,
    PairRow,
    PairRunInfo,
    PromptLine,
    Report,
    Side,
)
from backend.pairs.verdicts import accepted, current_of
from backend.pairs.vocabulary import USED, Decider, PairState
from backend.text import number_of


def runs(session: Session, run_id: int | None = None) -> list[PairRunInfo]:
    """Every run, or the one of that number, the newest first."""
    query = select(PairRun, Rater.version).outerjoin(Rater, Rater.id == PairRun.judge_id)
    if run_id is not None:
        query = query.where(PairRun.id == run_id)
    campaigns = dict(
        session.execute(
            select(RunPair.run_id, func.max(Campaign.name))
            .join(Campaign, Campaign.id == RunPair.campaign_id)
            .group_by(RunPair.run_id)
        ).all()
    )
    found = session.execute(query.order_by(PairRun.id.desc())).all()
    return [_info(run, version, campaigns.get(run.id)) for run, version in found]


def run_of(session: Session, given: str | int) -> PairRunInfo:
    """The run of that number or name. Raises NotFound."""
    number = number_of(given)
    id_ = session.scalar(
        select(PairRun.id)
        .where(or_(PairRun.id == number, PairRun.name == str(given)))
        .order_by((PairRun.name == str(given)).desc())
        .limit(1)
    )
    if id_ is None:
        raise NotFound(f"There is no run “{given}”.", f"没有“{given}”这批偏好对。")
    return runs(session, id_)[0]


def funnel(session: Session, run_id: int) -> Funnel:
    """How many came through each stage, and why the others did not. Counted now."""
    run = session.get_one(PairRun, run_id)
    report = Report.read(run.report) if run.report else None
    lost = _grouped(session, RunPrompt.lost, RunPrompt.run_id == run_id)
    faults = _grouped(session, Candidate.fault, Candidate.run_id == run_id)
    states = _grouped(session, RunPair.state, RunPair.run_id == run_id)
    kept_prompts, exact, written = session.execute(
        select(
            func.count(),
            func.count(RunPrompt.exact_chars),
            func.sum(case((RunPrompt.written, 1), else_=0)),
        ).where(RunPrompt.run_id == run_id, RunPrompt.prompt_id.is_not(None))
    ).one()
    judged, scored, good, kept, one_sided = _verdicts(session, run)
    dropped = {
        **{f"prompt_{name}": count for name, count in lost.items()},
        **{f"candidate_{name}": count for name, count in faults.items()},
        "verdict_unscored": judged - scored,
        "prompt_one_sided": one_sided,
        "pair_second": report.lost_to_second if report else 0,
        "pair_length": report.lost_to_length if report else 0,
        "pair_style": report.lost_to_style if report else 0,
        "pair_discarded": states.get(PairState.DISCARDED, 0),
    }
    return Funnel(
        prompts=_count(session, RunPrompt, run_id),
        kept_prompts=kept_prompts,
        exact_chars=exact,
        written_prompts=int(written or 0),
        candidates=_count(session, Candidate, run_id),
        debated=_count(session, Candidate, run_id) - sum(faults.values()),
        judged=scored,
        good=good,
        kept=kept,
        possible=report.possible if report else 0,
        pairs=sum(count for state, count in states.items() if state in USED),
        states={PairState(state).value: count for state, count in states.items()},
        dropped={name: count for name, count in dropped.items() if count},
        notice=constant_notice(_values(session, run)),
    )


def lines(session: Session, run_id: int, lost: str | None, limit: int) -> list[PromptLine]:
    """What went into a run, in order."""
    query = select(RunPrompt.position, RunPrompt.text, RunPrompt.lost).where(RunPrompt.run_id == run_id)
    if lost is not None:
        query = query.where(RunPrompt.lost == lost)
    return [PromptLine(*row) for row in session.execute(query.order_by(RunPrompt.position).limit(limit))]


def lost_candidates(session: Session, run_id: int, fault: str, limit: int) -> list[LostCandidate]:
    """Candidates that failed one check, in order."""
    rows = session.execute(
        select(RunPrompt.text, Candidate.text, Candidate.generator)
        .join(RunPrompt, RunPrompt.id == Candidate.run_prompt_id)
        .where(Candidate.run_id == run_id, Candidate.fault == fault)
        .order_by(Candidate.id)
        .limit(limit)
    )
    return [LostCandidate(*row) for row in rows]


def page(session: Session, run_id: int, wish: PairFilter, offset: int, limit: int) -> PairPage:
    """Pairs of a run that match, those that wait for a decision first."""
    chosen, rejected = aliased(Candidate), aliased(Candidate)
    first, second = aliased(Verdict), aliased(Verdict)
    judge = session.get_one(PairRun, run_id).judge_id
    query = (
        select(RunPair, RunPrompt.text, chosen.text, rejected.text, first.dimensions, second.dimensions)
        .join(RunPrompt, RunPrompt.id == RunPair.run_prompt_id)
        .join(chosen, chosen.id == RunPair.chosen_id)
        .join(rejected, rejected.id == RunPair.rejected_id)
        .outerjoin(first, current_of(judge, first, chosen))
        .outerjoin(second, current_of(judge, second, rejected))
        .where(RunPair.run_id == run_id, *_matching(wish, RunPrompt.text, chosen.text, rejected.text))
    )
    if wish.overturned:
        turned = [side.dimensions["overturned"].as_boolean().is_(True) for side in (first, second)]
        query = query.where(or_(*turned))
    if wish.generator:
        query = query.where(or_(chosen.generator == wish.generator, rejected.generator == wish.generator))
    total = session.scalar(select(func.count()).select_from(query.with_only_columns(RunPair.id).subquery()))
    waiting = case((RunPair.state == PairState.REVIEW, 0), else_=1)
    found = session.execute(query.order_by(waiting, RunPair.id).offset(offset).limit(limit)).all()
    by = _deciders(session, [row[0].id for row in found])
    return PairPage(total or 0, tuple(_row(row, by) for row in found))


def detail(session: Session, pair_id: int) -> PairDetail:
    """A pair with both debates and its history. Raises NotFound."""
    pair = session.get(RunPair, pair_id)
    if pair is None:
        raise NotFound(f"There is no pair {pair_id}.", f"没有编号为 {pair_id} 的偏好对。")
    run = session.get_one(PairRun, pair.run_id)
    judge, second = (session.get(Rater, id_) if id_ else None for id_ in (run.judge_id, run.second_judge_id))
    said = votes(session, pair.campaign_id) if pair.campaign_id else {}
    sides = []
    for id_ in (pair.chosen_id, pair.rejected_id):
        candidate = session.get_one(Candidate, id_)
        verdict, again = (
            session.scalar(select(Verdict).join(Candidate, current_of(rater)).where(Candidate.id == id_))
            for rater in (run.judge_id, run.second_judge_id)
        )
        known = said.get(candidate.greeting_id or 0)
        sides.append(_side(candidate, verdict, known.given if known else (), again))
    decisions = session.scalars(
        select(PairDecision).where(PairDecision.pair_id == pair_id).order_by(PairDecision.id)
    )
    return PairDetail(
        id=pair.id,
        run=run.id,
        run_name=run.name,
        prompt=session.get_one(RunPrompt, pair.run_prompt_id).text,
        state=pair.state,
        difference=pair.difference,
        chosen=sides[0],
        rejected=sides[1],
        judge=judge.name if judge else "",
        judge_version=judge.version if judge else "",
        prompts=run.prompts,
        decisions=tuple(
            Decision(one.state, one.decided_by, one.name, one.note, one.created_at) for one in decisions
        ),
        second_judge=second.name if second else "",
        second_version=second.version if second else "",
        playing=playing(run),
    )


def _info(run: PairRun, version: str | None, campaign: str | None) -> PairRunInfo:
    return PairRunInfo(
        id=run.id,
        name=run.name,
        stage=run.stage,
        request=PairRequest.read(run.config),
        job=run.job_id,
        judge_version=version,
        calls=int(run.spent.get("calls", 0)),
        tokens=int(run.spent.get("tokens", 0)),
        cost=float(run.spent.get("cost", 0.0)),
        seconds=float(run.spent.get("seconds", 0.0)),
        campaign=campaign,
        report=Report.read(run.report) if run.report else None,
        created_at=run.created_at,
        finished_at=run.finished_at,
        playing=playing(run),
    )


def _count(session: Session, table: Any, run_id: int) -> int:
    return session.scalar(select(func.count()).select_from(table).where(table.run_id == run_id)) or 0


def _grouped(session: Session, column: Any, where: Any) -> dict[Any, int]:
    rows = session.execute(
        select(column, func.count()).where(where, column.is_not(None)).group_by(column).order_by(column)
    )
    return dict(rows.all())


def _verdicts(session: Session, run: PairRun) -> tuple[int, int, int, int, int]:
    """Candidates that were judged, that got a verdict, that were accepted, that stand in prompts with
    both kinds; and prompts whose candidates all went one way."""
    good = case((accepted(), 1), else_=0)
    each = (
        select(
            func.count(Verdict.id).label("judged"),
            func.count(Verdict.value).label("scored"),
            func.sum(good).label("good"),
        )
        .select_from(Candidate)
        .join(Verdict, current_of(run.judge_id))
        .where(Candidate.run_id == run.id)
        .group_by(Candidate.run_prompt_id)
        .subquery()
    )
    both = (each.c.good > 0) & (each.c.good < each.c.scored)
    row = session.execute(
        select(
            func.sum(each.c.judged),
            func.sum(each.c.scored),
            func.sum(each.c.good),
            func.sum(case((both, each.c.scored), else_=0)),
            func.sum(case((both, 0), else_=1)),
        )
    ).one()
    judged, scored, good_ones, kept, one_sided = (int(value or 0) for value in row)
    return judged, scored, good_ones, kept, one_sided


def _values(session: Session, run: PairRun) -> dict[Value, int]:
    """How many candidates got which value; of more than two values only two."""
    rows = session.execute(
        select(Verdict.value, func.count())
        .select_from(Candidate)
        .join(Verdict, current_of(run.judge_id))
        .where(Candidate.run_id == run.id, Verdict.value.is_not(None))
        .group_by(Verdict.value)
        .limit(2)
    )
    return {value: count for value, count in rows if value is not None}


def _matching(wish: PairFilter, *texts: Any) -> list[Any]:
    conditions: list[Any] = []
    if wish.state is not None:
        conditions.append(RunPair.state == wish.state)
    if wish.by is not None:
        later = aliased(PairDecision)
        last = ~exists().where(later.pair_id == PairDecision.pair_id, later.id > PairDecision.id)
        decided = exists().where(PairDecision.pair_id == RunPair.id, PairDecision.decided_by == wish.by, last)
        untouched = ~exists().where(PairDecision.pair_id == RunPair.id)
        conditions.append(or_(decided, untouched) if wish.by is Decider.PANEL else decided)
    if wish.search:
        conditions.append(or_(*(text.contains(wish.search, autoescape=True) for text in texts)))
    return conditions


def _deciders(session: Session, pair_ids: Sequence[int]) -> dict[int, Decider]:
    rows = session.execute(
        select(PairDecision.pair_id, PairDecision.decided_by)
        .where(PairDecision.pair_id.in_(pair_ids))
        .order_by(PairDecision.id)
    )
    return dict(rows.all())


def _row(row: Any, by: dict[int, Decider]) -> PairRow:
    pair, prompt, chosen, rejected, *said = row
    if pair.state is PairState.FLIPPED:
        chosen, rejected = rejected, chosen
    return PairRow(
        id=pair.id,
        prompt=prompt,
        chosen=chosen,
        rejected=rejected,
        difference=pair.difference,
        state=pair.state,
        by=by.get(pair.id, Decider.PANEL),
        overturned=any((details or {}).get("overturned") for details in said),
    )


def _side(
    candidate: Candidate, verdict: Verdict | None, people: tuple[float, ...], again: Verdict | None
) -> Side:
    return Side(
        candidate=candidate.id,
        greeting=candidate.greeting_id or 0,
        text=candidate.text,
        generator=candidate.generator,
        model=candidate.model,
        recipe=candidate.recipe,
        call_id=candidate.call_id,
        value=verdict.value if verdict else None,
        reason=verdict.reason if verdict else "",
        details=(verdict.dimensions if verdict else None) or {},
        people=people,
        again=Again(again.value, again.reason, again.dimensions or {}) if again else None,
    )
