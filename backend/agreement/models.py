"""Which models wrote what a reference speaks of, and how people and judges rate each of them."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.agreement.records import ModelRow
from backend.agreement.reference import JudgeReading, Reference
from backend.agreement.statistics.categorical import TIE
from backend.agreement.statistics.judge_rows import judge_opinions, share_of_model
from backend.core.enums import Scale
from backend.db.pair_tables import Candidate
from backend.db.play_tables import GreetingOrigin
from backend.db.tables import Rater

PEOPLE_NAME = ""
ModelIdentity = tuple[str, str]


def find_authors(session: Session, reference: Reference) -> dict[ModelIdentity, set[int]]:
    """The greetings of the reference by the model that wrote them; one text may have several authors."""
    wanted_ids = {
        greeting_id for unit in reference.units for greeting_id in (unit.a_id, unit.b_id) if greeting_id is not None
    }
    greetings_by_model: dict[ModelIdentity, set[int]] = defaultdict(set)
    # Greetings come from the playground or from a run of pairs, which note their authors in tables of their
    # own.
    for origin_table in (GreetingOrigin, Candidate):
        rows = session.execute(
            select(origin_table.generator, origin_table.model, origin_table.greeting_id).where(
                origin_table.greeting_id.is_not(None)
            )
        )
        # Filtered here: an IN of every greeting of a large reference would pass SQLite's limit of parameters.
        for generator, model, written_id in rows:
            if written_id in wanted_ids:
                greetings_by_model[generator, model].add(written_id)
    return dict(greetings_by_model)


def build_model_rows(
    reference: Reference,
    greetings_by_model: dict[ModelIdentity, set[int]],
    raters: Sequence[Rater],
    readings: dict[int, JudgeReading],
) -> tuple[ModelRow, ...]:
    """Every model as people see it, then as each judge does; one version a judge."""
    human_values, prompt_groups = reference.majority(), np.array([unit.prompt_id for unit in reference.units])
    # Whoever labels chooses what to label: what people are silent on, nobody asked them for.
    opinions = {PEOPLE_NAME: (human_values, ~np.isnan(human_values))}
    for rater in raters:
        scale, judge_reading = Scale(rater.config.get("scale", Scale.SCORE)), readings[rater.id]
        rater_values = judge_opinions(
            human_values, judge_reading.unit_values, prompt_groups, scale, is_paired=reference.paired
        )
        opinions[rater.name] = (rater_values, judge_reading.requested_mask)
    rows = []
    for (generator, model), greetings in sorted(greetings_by_model.items()):
        wrote_first = np.array([unit.a_id in greetings for unit in reference.units])
        wrote_second = np.array([unit.b_id in greetings for unit in reference.units])
        # Where one model wrote both greetings, or neither, the answer says nothing of it.
        wrote_one = wrote_first != wrote_second
        for rater_name, (rater_values, requested) in opinions.items():
            has_opinion = wrote_one & ~np.isnan(rater_values)
            rows.append(
                ModelRow(
                    generator,
                    model,
                    rater_name,
                    share_of_model(rater_values, wrote_first, wrote_second, prompt_groups),
                    n=int(has_opinion.sum()),
                    ties=int((rater_values[has_opinion] == TIE).sum()),
                    missing=int((wrote_one & ~has_opinion).sum()),
                    never_asked=int((wrote_one & ~has_opinion & ~requested).sum()),
                )
            )
    return tuple(rows)
