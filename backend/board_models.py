"""Which models wrote what a reference speaks of, and how people and judges rate each of them."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.agreement.categorical import TIE
from backend.agreement.models import opinion, share
from backend.db.pair_tables import Candidate
from backend.db.play_tables import GreetingOrigin
from backend.db.tables import Rater
from backend.records import ModelRow
from backend.reference import Reference
from backend.scoring.readings import Reading
from backend.vocabulary import Scale

PEOPLE = ""
Model = tuple[str, str]


def authors(session: Session, data: Reference) -> dict[Model, set[int]]:
    """The greetings of the reference by the model that wrote them; one text may have several authors."""
    wanted = {id_ for unit in data.units for id_ in (unit.a_id, unit.b_id) if id_ is not None}
    found: dict[Model, set[int]] = defaultdict(set)
    for table in (GreetingOrigin, Candidate):
        rows = session.execute(
            select(table.generator, table.model, table.greeting_id).where(table.greeting_id.is_not(None))
        )
        for generator, model, greeting in rows:
            if greeting in wanted:
                found[generator, model].add(greeting)
    return dict(found)


def model_rows(
    data: Reference, by: dict[Model, set[int]], raters: Sequence[Rater], readings: dict[int, Reading]
) -> tuple[ModelRow, ...]:
    """Every model as people see it, then as each judge does; one version a judge."""
    human, groups = data.majority(), np.array([unit.prompt_id for unit in data.units])
    # Whoever labels chooses what to label: what people are silent on, nobody asked them for.
    opinions = {PEOPLE: (human, ~np.isnan(human))}
    for rater in raters:
        scale, found = Scale(rater.config.get("scale", Scale.SCORE)), readings[rater.id]
        said = opinion(human, found.values, groups, scale, paired=data.paired)
        opinions[rater.name] = (said, found.asked)
    rows = []
    for (generator, model), greetings in sorted(by.items()):
        first = np.array([unit.a_id in greetings for unit in data.units])
        second = np.array([unit.b_id in greetings for unit in data.units])
        mine = first != second
        for name, (said, asked) in opinions.items():
            known = mine & ~np.isnan(said)
            rows.append(
                ModelRow(
                    generator,
                    model,
                    name,
                    share(said, first, second, groups),
                    n=int(known.sum()),
                    ties=int((said[known] == TIE).sum()),
                    missing=int((mine & ~known).sum()),
                    never_asked=int((mine & ~known & ~asked).sum()),
                )
            )
    return tuple(rows)
