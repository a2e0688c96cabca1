"""What pages and commands see of runs: the list, the funnel, pages of pairs, one debate in full."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import case, exists, func, or_, select
from sqlalchemy.orm import Session, aliased

from backend.core.enums import USABLE_STATES, Decider, PairState
from backend.core.errors import NotFound
from backend.core.stored_records import read_record
from backend.core.text import parse_row_number
from backend.db.pair_tables import Candidate, PairDecision, PairRun, RunPair, RunPrompt
from backend.db.queries import get_or_not_found
from backend.db.tables import Campaign, Rater, Verdict
from backend.judges.constancy import JudgeValue, constant_notice
from backend.judges.scoring.records import Opinion
from backend.preferences.pairing import is_accepted, is_current_verdict
from backend.preferences.records import (
    Decision,
    FaultyCandidate,
    Funnel,
    PairDetail,
    PairFilter,
    PairingReport,
    PairPage,
    PairRequest,
    PairRow,
    PairRunInfo,
    PairSide,
    PromptLine,
)
from backend.preferences.review import votes_by_greeting
from backend.runs.hold import RunHolder, find_run_holders


def runs(session: Session, run_id: int | None = None) -> list[PairRunInfo]:
    """Every run, or the one of that number, the newest first; empty for a number that there is not."""
    run_query = select(PairRun, Rater.version).outerjoin(Rater, Rater.id == PairRun.judge_id)
    if run_id is not None:
        run_query = run_query.where(PairRun.id == run_id)
    campaign_names = dict(
        session.execute(
            # One query for all runs; a run is handed out once,
            # so it has one campaign at most and max picks that.
            select(RunPair.run_id, func.max(Campaign.name))
            .join(Campaign, Campaign.id == RunPair.campaign_id)
            .group_by(RunPair.run_id)
        ).all()
    )
    run_rows = session.execute(run_query.order_by(PairRun.id.desc())).all()
    holders = find_run_holders(session, [pair_run.job_id for pair_run, _ in run_rows])
    return [
        _run_info(pair_run, judge_version, campaign_names.get(pair_run.id), holders.get(pair_run.job_id))
        for pair_run, judge_version in run_rows
    ]


def find_run(session: Session, run_or_name: str | int) -> PairRunInfo:
    """The run of that number or name. Raises NotFound."""
    # A run may be called “12”: then the name goes before the number.
    run_number = parse_row_number(run_or_name)
    matching_id = session.scalar(
        select(PairRun.id)
        .where(or_(PairRun.id == run_number, PairRun.name == str(run_or_name)))
        .order_by((PairRun.name == str(run_or_name)).desc())
        .limit(1)
    )
    if matching_id is None:
        raise NotFound(f"There is no run “{run_or_name}”.", f"没有“{run_or_name}”这批偏好对。")
    return runs(session, matching_id)[0]


def count_funnel(session: Session, run_id: int) -> Funnel:
    """How many came through each stage, and why the others did not. Counted now."""
    pair_run = session.get_one(PairRun, run_id)
    pairing_report = read_record(PairingReport, pair_run.report) if pair_run.report else None
    drop_counts = _count_by_value(session, RunPrompt.lost, RunPrompt.run_id == run_id)
    fault_counts = _count_by_value(session, Candidate.fault, Candidate.run_id == run_id)
    state_counts = _count_by_value(session, RunPair.state, RunPair.run_id == run_id)
    # count() of a column passes over NULL, which is how requests without an exact length are left out.
    passed_prompts, exact_length_count, written_count = session.execute(
        select(
            func.count(),
            func.count(RunPrompt.exact_chars),
            func.sum(case((RunPrompt.written, 1), else_=0)),
        ).where(RunPrompt.run_id == run_id, RunPrompt.prompt_id.is_not(None))
    ).one()
    judged_count, scored_count, accepted_count, paired_count, one_sided_count = _count_verdicts(session, pair_run)
    # Every loss of every stage, so that the numbers of two stages always add up.
    dropped_counts = {
        **{f"prompt_{reason_name}": item_count for reason_name, item_count in drop_counts.items()},
        **{f"candidate_{reason_name}": item_count for reason_name, item_count in fault_counts.items()},
        "verdict_unscored": judged_count - scored_count,
        "prompt_one_sided": one_sided_count,
        "pair_second": pairing_report.lost_to_second if pairing_report else 0,
        "pair_length": pairing_report.lost_to_length if pairing_report else 0,
        "pair_style": pairing_report.lost_to_style if pairing_report else 0,
        "pair_discarded": state_counts.get(PairState.DISCARDED, 0),
    }
    return Funnel(
        prompts=_count_rows(session, RunPrompt, run_id),
        kept_prompts=passed_prompts,
        exact_chars=exact_length_count,
        written_prompts=int(written_count or 0),
        candidates=_count_rows(session, Candidate, run_id),
        # What has a fault is never put to the judge, so it is no part of this stage.
        debated=_count_rows(session, Candidate, run_id) - sum(fault_counts.values()),
        judged=scored_count,
        good=accepted_count,
        kept=paired_count,
        possible=pairing_report.possible if pairing_report else 0,
        pairs=sum(item_count for pair_state, item_count in state_counts.items() if pair_state in USABLE_STATES),
        states={PairState(pair_state).value: item_count for pair_state, item_count in state_counts.items()},
        dropped={reason_name: item_count for reason_name, item_count in dropped_counts.items() if item_count},
        notice=constant_notice(_verdict_values(session, pair_run)),
    )


def prompt_lines(session: Session, run_id: int, drop_reason: str | None, max_lines: int) -> list[PromptLine]:
    """The first `max_lines` lines that went into a run, in order; only those dropped for `drop_reason`, where given."""
    line_query = select(RunPrompt.position, RunPrompt.text, RunPrompt.lost).where(RunPrompt.run_id == run_id)
    if drop_reason is not None:
        line_query = line_query.where(RunPrompt.lost == drop_reason)
    return [
        PromptLine(*prompt_row)
        for prompt_row in session.execute(line_query.order_by(RunPrompt.position).limit(max_lines))
    ]


def faulty_candidates(session: Session, run_id: int, fault_name: str, max_candidates: int) -> list[FaultyCandidate]:
    """The first `max_candidates` candidates that failed the check `fault_name`, in order."""
    candidate_rows = session.execute(
        select(RunPrompt.text, Candidate.text, Candidate.generator)
        .join(RunPrompt, RunPrompt.id == Candidate.run_prompt_id)
        .where(Candidate.run_id == run_id, Candidate.fault == fault_name)
        .order_by(Candidate.id)
        .limit(max_candidates)
    )
    return [FaultyCandidate(*candidate_row) for candidate_row in candidate_rows]


def pair_page(session: Session, run_id: int, pair_filter: PairFilter, row_offset: int, page_size: int) -> PairPage:
    """Pairs of a run that match, those that wait for a decision first: `page_size` of them from `row_offset` on."""
    chosen_candidate, rejected_candidate = aliased(Candidate), aliased(Candidate)
    chosen_verdict, rejected_verdict = aliased(Verdict), aliased(Verdict)
    judge_id = session.get_one(PairRun, run_id).judge_id
    pair_query = (
        select(
            RunPair,
            RunPrompt.text,
            chosen_candidate.text,
            rejected_candidate.text,
            chosen_verdict.dimensions,
            rejected_verdict.dimensions,
        )
        .join(RunPrompt, RunPrompt.id == RunPair.run_prompt_id)
        .join(chosen_candidate, chosen_candidate.id == RunPair.chosen_id)
        .join(rejected_candidate, rejected_candidate.id == RunPair.rejected_id)
        .outerjoin(chosen_verdict, is_current_verdict(judge_id, chosen_verdict, chosen_candidate))
        .outerjoin(rejected_verdict, is_current_verdict(judge_id, rejected_verdict, rejected_candidate))
        .where(
            RunPair.run_id == run_id,
            *_filter_conditions(pair_filter, RunPrompt.text, chosen_candidate.text, rejected_candidate.text),
        )
    )
    if pair_filter.overturned:
        # Read from the verdict's JSON in the database: filtering here would have to load every page first.
        was_overturned = [
            side_verdict.dimensions["overturned"].as_boolean().is_(True)
            for side_verdict in (chosen_verdict, rejected_verdict)
        ]
        pair_query = pair_query.where(or_(*was_overturned))
    if pair_filter.generator:
        pair_query = pair_query.where(
            or_(
                chosen_candidate.generator == pair_filter.generator,
                rejected_candidate.generator == pair_filter.generator,
            )
        )
    # Ids alone in the inner query: two joins of texts would be read only to be counted.
    total_count = session.scalar(select(func.count()).select_from(pair_query.with_only_columns(RunPair.id).subquery()))
    # What waits for a person comes first; within, the order of the ids keeps pages apart.
    review_first = case((RunPair.state == PairState.REVIEW, 0), else_=1)
    pair_rows = session.execute(pair_query.order_by(review_first, RunPair.id).offset(row_offset).limit(page_size)).all()
    decider_by_pair = _deciders_by_pair(session, [pair_row[0].id for pair_row in pair_rows])
    return PairPage(total_count or 0, tuple(_pair_row(pair_row, decider_by_pair) for pair_row in pair_rows))


def pair_detail(session: Session, pair_id: int) -> PairDetail:
    """A pair with both debates and its history. Raises NotFound."""
    sentences = f"There is no pair {pair_id}.", f"没有编号为 {pair_id} 的偏好对。"
    run_pair = get_or_not_found(session, RunPair, pair_id, *sentences)
    pair_run = session.get_one(PairRun, run_pair.run_id)
    first_judge, second_judge = (
        session.get(Rater, record_id) if record_id else None
        for record_id in (pair_run.judge_id, pair_run.second_judge_id)
    )
    votes_by_id = votes_by_greeting(session, run_pair.campaign_id) if run_pair.campaign_id else {}
    pair_ends = []
    for record_id in (run_pair.chosen_id, run_pair.rejected_id):
        side_candidate = session.get_one(Candidate, record_id)
        first_verdict, second_verdict = (
            session.scalar(
                select(Verdict).join(Candidate, is_current_verdict(rater_id)).where(Candidate.id == record_id)
            )
            for rater_id in (pair_run.judge_id, pair_run.second_judge_id)
        )
        human_votes = votes_by_id.get(side_candidate.greeting_id or 0)
        pair_ends.append(
            _pair_side(side_candidate, first_verdict, human_votes.answers if human_votes else (), second_verdict)
        )
    decision_rows = session.scalars(
        select(PairDecision).where(PairDecision.pair_id == pair_id).order_by(PairDecision.id)
    )
    return PairDetail(
        id=run_pair.id,
        run=pair_run.id,
        run_name=pair_run.name,
        prompt=session.get_one(RunPrompt, run_pair.run_prompt_id).text,
        state=run_pair.state,
        difference=run_pair.difference,
        chosen=pair_ends[0],
        rejected=pair_ends[1],
        judge=first_judge.name if first_judge else "",
        judge_version=first_judge.version if first_judge else "",
        prompts=pair_run.prompts,
        decisions=tuple(
            Decision(decision.state, decision.decided_by, decision.name, decision.note, decision.created_at)
            for decision in decision_rows
        ),
        second_judge=second_judge.name if second_judge else "",
        second_version=second_judge.version if second_judge else "",
        playing=find_run_holders(session, [pair_run.job_id]).get(pair_run.job_id),
    )


def _run_info(
    pair_run: PairRun, judge_version: str | None, campaign_name: str | None, run_holder: RunHolder | None
) -> PairRunInfo:
    return PairRunInfo(
        id=pair_run.id,
        name=pair_run.name,
        stage=pair_run.stage,
        request=read_record(PairRequest, pair_run.config),
        job=pair_run.job_id,
        judge_version=judge_version,
        calls=int(pair_run.spent.get("calls", 0)),
        tokens=int(pair_run.spent.get("tokens", 0)),
        cost=float(pair_run.spent.get("cost", 0.0)),
        seconds=float(pair_run.spent.get("seconds", 0.0)),
        campaign=campaign_name,
        report=read_record(PairingReport, pair_run.report) if pair_run.report else None,
        created_at=pair_run.created_at,
        finished_at=pair_run.finished_at,
        playing=run_holder,
    )


def _count_rows(session: Session, table_class: Any, run_id: int) -> int:
    return session.scalar(select(func.count()).select_from(table_class).where(table_class.run_id == run_id)) or 0


def _count_by_value(session: Session, value_column: Any, condition: Any) -> dict[Any, int]:
    count_rows = session.execute(
        select(value_column, func.count())
        .where(condition, value_column.is_not(None))
        .group_by(value_column)
        .order_by(value_column)
    )
    return dict(count_rows.all())


def _count_verdicts(session: Session, pair_run: PairRun) -> tuple[int, int, int, int, int]:
    """Candidates that were judged, that got a verdict, that were accepted, that stand in prompts with
    both kinds; and prompts whose candidates all went one way."""
    accepted_flag = case((is_accepted(), 1), else_=0)
    prompt_counts = (
        select(
            func.count(Verdict.id).label("judged"),
            func.count(Verdict.value).label("scored"),
            func.sum(accepted_flag).label("good"),
        )
        .select_from(Candidate)
        .join(Verdict, is_current_verdict(pair_run.judge_id))
        .where(Candidate.run_id == pair_run.id)
        .group_by(Candidate.run_prompt_id)
        .subquery()
    )
    # Against the scored ones and not the judged: an unscored candidate makes no prompt two-sided.
    has_both_kinds = (prompt_counts.c.good > 0) & (prompt_counts.c.good < prompt_counts.c.scored)
    total_row = session.execute(
        select(
            func.sum(prompt_counts.c.judged),
            func.sum(prompt_counts.c.scored),
            func.sum(prompt_counts.c.good),
            func.sum(case((has_both_kinds, prompt_counts.c.scored), else_=0)),
            func.sum(case((has_both_kinds, 0), else_=1)),
        )
    ).one()
    judged_count, scored_count, accepted_count, paired_count, one_sided_count = (
        int(column_total or 0) for column_total in total_row
    )
    return judged_count, scored_count, accepted_count, paired_count, one_sided_count


def _verdict_values(session: Session, pair_run: PairRun) -> dict[JudgeValue, int]:
    """How many candidates got which value; of more than two values only two."""
    value_rows = session.execute(
        select(Verdict.value, func.count())
        .select_from(Candidate)
        .join(Verdict, is_current_verdict(pair_run.judge_id))
        .where(Candidate.run_id == pair_run.id, Verdict.value.is_not(None))
        .group_by(Verdict.value)
        # Whether values differ is all that is asked, and a third value would not change the answer.
        .limit(2)
    )
    return {verdict_value: value_count for verdict_value, value_count in value_rows if verdict_value is not None}


def _filter_conditions(pair_filter: PairFilter, *texts: Any) -> list[Any]:
    conditions: list[Any] = []
    if pair_filter.state is not None:
        conditions.append(RunPair.state == pair_filter.state)
    if pair_filter.decided_by is not None:
        later_decision = aliased(PairDecision)
        # Decisions are append-only: the last one of a pair is the one that none with a higher id follows.
        is_latest = ~exists().where(later_decision.pair_id == PairDecision.pair_id, later_decision.id > PairDecision.id)
        decided_by_kind = exists().where(
            PairDecision.pair_id == RunPair.id, PairDecision.decided_by == pair_filter.decided_by, is_latest
        )
        # The panel proposed what nobody has touched, without a decision being written for it.
        undecided = ~exists().where(PairDecision.pair_id == RunPair.id)
        conditions.append(
            or_(decided_by_kind, undecided) if pair_filter.decided_by is Decider.PANEL else decided_by_kind
        )
    if pair_filter.search:
        # autoescape: a % or _ that somebody searches for is a character and no wildcard.
        conditions.append(or_(*(text_column.contains(pair_filter.search, autoescape=True) for text_column in texts)))
    return conditions


def _deciders_by_pair(session: Session, pair_ids: Sequence[int]) -> dict[int, Decider]:
    decision_rows = session.execute(
        select(PairDecision.pair_id, PairDecision.decided_by)
        .where(PairDecision.pair_id.in_(pair_ids))
        .order_by(PairDecision.id)
    )
    # In ascending order, so that the last decision of a pair is the one that stays in the dict.
    return dict(decision_rows.all())


def _pair_row(pair_row: Any, decider_by_pair: dict[int, Decider]) -> PairRow:
    run_pair, prompt_text, chosen_text, rejected_text, *both_dimensions = pair_row
    # The row keeps the judge's order; whoever looks at the list sees what is exported.
    if run_pair.state is PairState.FLIPPED:
        chosen_text, rejected_text = rejected_text, chosen_text
    return PairRow(
        id=run_pair.id,
        prompt=prompt_text,
        chosen=chosen_text,
        rejected=rejected_text,
        difference=run_pair.difference,
        state=run_pair.state,
        by=decider_by_pair.get(run_pair.id, Decider.PANEL),
        overturned=any((dimensions or {}).get("overturned") for dimensions in both_dimensions),
    )


def _pair_side(
    side_candidate: Candidate,
    first_verdict: Verdict | None,
    human_answers: tuple[float, ...],
    second_verdict: Verdict | None,
) -> PairSide:
    return PairSide(
        candidate=side_candidate.id,
        greeting=side_candidate.greeting_id or 0,
        text=side_candidate.text,
        generator=side_candidate.generator,
        model=side_candidate.model,
        recipe=side_candidate.recipe,
        call_id=side_candidate.call_id,
        value=first_verdict.value if first_verdict else None,
        reason=first_verdict.reason if first_verdict else "",
        details=(first_verdict.dimensions if first_verdict else None) or {},
        people=human_answers,
        again=Opinion(second_verdict.value, second_verdict.reason, second_verdict.dimensions or {})
        if second_verdict
        else None,
    )
