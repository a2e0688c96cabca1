"""A second opinion on what balance would keep against the odds: whom to ask, and about which candidates.

Where good greetings tend to be longer, a pair whose chosen side is shorter is rare among the truths and
common among the judge's mistakes, and balance keeps all of these. So their greetings go before a judge once
more: another one, or the same at another draw, which still parts chance from conviction.
"""

from collections.abc import Iterator
from dataclasses import replace

from sqlalchemy import update

from backend.agents.balance import scarce
from backend.db.engine import Database
from backend.db.pair_tables import Candidate
from backend.judges.spec import JudgeSpec
from backend.pairs.records import PairRequest
from backend.pairs.sides import Sides
from backend.text import squeeze

AGAIN = " again"
DRAW = 0.7
"""Temperature of a judge that is asked once more: at 0 it would say the same again."""
SHARE = 0.15
"""Of the candidates, how many are judged twice: about as in the measured runs (docs/experiments.md)."""
_LONGEST = 60
BATCH = 500


def again(spec: JudgeSpec) -> JudgeSpec:
    """The same judge at another draw, under a name that says so."""
    config = dict(spec.config)
    config |= {"temperature": max(float(config.get("temperature") or 0), DRAW)}
    config |= {"seed": int(config.get("seed") or 0) + 1}
    return replace(spec, name=spec.name[: _LONGEST - len(AGAIN)] + AGAIN, config=config)


def mark(database: Database, run_id: int, request: PairRequest) -> int:
    """Note which candidates are to be judged twice; how many. The same verdicts give the same candidates."""
    ids, lengths = [], []
    for chosen, rejected, sizes in _possible(Sides(database, run_id, request.way)):
        ids.append((chosen, rejected))
        lengths.append(sizes)
    wanted = sorted({id_ for pair, rare in zip(ids, scarce(lengths), strict=True) if rare for id_ in pair})
    for start in range(0, len(wanted), BATCH):
        with database.write() as session:
            part = wanted[start : start + BATCH]
            session.execute(update(Candidate).where(Candidate.id.in_(part)).values(twice=True))
    return len(wanted)


def _possible(sides: Sides) -> Iterator[tuple[int, int, tuple[int, int]]]:
    for pair in sides:
        lengths = len(squeeze(pair.chosen.text)), len(squeeze(pair.rejected.text))
        yield pair.chosen.id, pair.rejected.id, lengths
