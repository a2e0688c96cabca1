"""What makes the seed corpus fit to judge judges with: variety, originality, no give-aways. Pure checks."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from backend.text import length, squeeze
from backend.vocabulary import Flaw

KEYS = ("prompt", "strong", "weak", "flaw", "occasion", "recipient", "style")
MIN_PROMPTS, MIN_OCCASIONS, MIN_RECIPIENTS, MIN_STYLES = 600, 25, 12, 6
LENGTH_AUC = (0.45, 0.55)
OPENING_SHARE = (0.35, 0.65)
MAX_SHARED = 0.5
_GRAM = 4
_SHORT = 10  # shorter greetings share grams by necessity

Row = dict[str, str]


@dataclass(frozen=True)
class Overlap:
    """Two greetings that share too many character 4-grams (over the shorter one)."""

    share: float
    one: str
    other: str


def load(folder: Path) -> list[Row]:
    """Every row of the seed files."""
    return [
        json.loads(line)
        for path in sorted(folder.glob("*.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.strip()
    ]


def problems(rows: Sequence[Row]) -> list[str]:
    """Everything that keeps the rows from being a seed corpus, one sentence each."""
    broken = malformed(rows)
    if broken:
        return broken
    low, high = LENGTH_AUC
    auc = length_auc(rows)
    found = too_little(rows)
    found += [f"shares {o.share:.0%} of its 4-grams: {o.one} ~ {o.other}" for o in overlaps(greetings(rows))]
    if not low <= auc <= high:
        found.append(f"length alone tells strong from weak: AUC {auc:.3f} outside {low} to {high}")
    low, high = OPENING_SHARE
    return found + [
        f"the opening {opening!r} is strong in {share:.0%} of its rows"
        for opening, share in openings(rows).items()
        if not low <= share <= high
    ]


def malformed(rows: Iterable[Row]) -> list[str]:
    """Rows with other keys, empty or padded values, or an unknown flaw; repeated prompts."""
    found = []
    seen: set[str] = set()
    flaws = {flaw.value for flaw in Flaw}
    for number, row in enumerate(rows, 1):
        if tuple(row) != KEYS:
            found.append(f"row {number}: the keys are {list(row)}")
            continue
        if any(not isinstance(value, str) or not value or value != value.strip() for value in row.values()):
            found.append(f"row {number}: an empty or padded value")
        if row["flaw"] not in flaws:
            found.append(f"row {number}: unknown flaw {row['flaw']!r}")
        if squeeze(row["prompt"]) in seen:
            found.append(f"row {number}: the prompt repeats: {row['prompt']}")
        seen.add(squeeze(row["prompt"]))
    return found


def too_little(rows: Sequence[Row]) -> list[str]:
    """Where prompts, occasions, recipients, styles or flaws are too few."""
    wanted = {
        "prompt": MIN_PROMPTS,
        "occasion": MIN_OCCASIONS,
        "recipient": MIN_RECIPIENTS,
        "style": MIN_STYLES,
        "flaw": len(Flaw),
    }
    have = {name: len({row[name] for row in rows}) for name in wanted}
    return [
        f"{have[name]} distinct {name}s, {least} wanted"
        for name, least in wanted.items()
        if have[name] < least
    ]


def greetings(rows: Iterable[Row]) -> list[str]:
    """Strong and weak greetings in one list."""
    return [row[side] for row in rows for side in ("strong", "weak")]


def overlaps(texts: Sequence[str], limit: float = MAX_SHARED) -> list[Overlap]:
    """Pairs of texts of ten or more characters that share more than `limit` of their 4-grams."""
    long = [text for text in texts if length(text) >= _SHORT]
    grams = [_grams(text) for text in long]
    index: dict[str, list[int]] = defaultdict(list)
    found = []
    for here, own in enumerate(grams):
        shared = Counter(there for gram in own for there in index[gram])
        for there, count in shared.items():
            share = count / min(len(own), len(grams[there]))
            if share > limit:
                found.append(Overlap(share, long[there], long[here]))
        for gram in own:
            index[gram].append(here)
    return found


def _grams(text: str) -> set[str]:
    text = squeeze(text)
    return {text[at : at + _GRAM] for at in range(len(text) - _GRAM + 1)}


def length_auc(rows: Iterable[Row]) -> float:
    """Probability that a random strong greeting is longer than a random weak one; ties count half."""
    rows = list(rows)
    strong = Counter(length(row["strong"]) for row in rows)
    weak = Counter(length(row["weak"]) for row in rows)
    wins = sum(
        many * other * ((size > against) + 0.5 * (size == against))
        for size, many in strong.items()
        for against, other in weak.items()
    )
    return wins / len(rows) ** 2 if rows else float("nan")


def openings(rows: Iterable[Row], top: int = 10) -> dict[str, float]:
    """The commonest first four characters and how often they open a strong greeting."""
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for row in rows:
        counts[row["weak"][:_GRAM]][0] += 1
        counts[row["strong"][:_GRAM]][1] += 1
    common = sorted(counts.items(), key=lambda entry: (-sum(entry[1]), entry[0]))[:top]
    return {opening: strong / (weak + strong) for opening, (weak, strong) in common}
