"""The seed corpus of `data/seed/` as the data set "seed", and the audit of what makes it fit to judge judges with."""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from backend.core.enums import Flaw
from backend.core.errors import UserError
from backend.core.settings import PROJECT_ROOT
from backend.core.text import count_characters, strip_white_space
from backend.corpus import store
from backend.corpus.importing import ImportRequest, import_file
from backend.corpus.records import ImportReport
from backend.db.engine import Database

SEED_NAME = "seed"
SEED_FOLDER = PROJECT_ROOT / "data" / "seed"


def load_seed(database: Database, seed_folder: Path = SEED_FOLDER) -> ImportReport | None:
    """Import every seed file that is new or changed since; None when nothing was to do."""
    seed_files = sorted(seed_folder.glob("*.jsonl"))
    if not seed_files:
        raise UserError(
            f"The seed corpus is missing: there is no .jsonl file in {seed_folder}.",
            f"找不到种子语料：{seed_folder} 中没有 .jsonl 文件。",
        )
    content_hash = _hash_files(seed_files)
    with database.read() as session:
        seed_rater = store.find_dataset_rater(session, SEED_NAME)
        if seed_rater is not None and seed_rater.config.get("sha256") == content_hash:
            return None
    # A row that the authors turned round since must not keep the application from starting.
    file_reports = [
        import_file(database, ImportRequest(seed_file, dataset=SEED_NAME, kind="seed", skip_bad=True))
        for seed_file in seed_files
    ]
    with database.write() as session:
        seed_rater = store.find_dataset_rater(session, SEED_NAME)
        if seed_rater is not None:
            # Last: whoever is cut off before imports again at the next start, which adds nothing twice.
            seed_rater.config = {"sha256": content_hash}
    return _sum_reports(seed_folder, file_reports)


def _hash_files(seed_files: list[Path]) -> str:
    sha256_hasher = hashlib.sha256()
    for seed_file in seed_files:
        # A hash of hashes: text that moves from the end of one file to the start of the next is a change.
        sha256_hasher.update(hashlib.sha256(seed_file.read_bytes()).digest())
    return sha256_hasher.hexdigest()


def _sum_reports(seed_folder: Path, file_reports: list[ImportReport]) -> ImportReport:
    return ImportReport(
        path=str(seed_folder),
        kind="seed",
        dataset=SEED_NAME,
        read=sum(file_report.read for file_report in file_reports),
        added=sum(file_report.added for file_report in file_reports),
        duplicate=sum(file_report.duplicate for file_report in file_reports),
        rejected=sum(file_report.rejected for file_report in file_reports),
        errors=tuple(row_error for file_report in file_reports for row_error in file_report.errors),
    )


SEED_KEYS = ("prompt", "strong", "weak", "flaw", "occasion", "recipient", "style")
MIN_PROMPTS, MIN_OCCASIONS, MIN_RECIPIENTS, MIN_STYLES = 600, 25, 12, 6
# On the published labels length alone reaches an AUC of .93, so that a counter of characters passes for a
# judge.
LENGTH_AUC = (0.45, 0.55)
# An opening that stands mostly before strong greetings would give them away just as length does.
OPENING_SHARE = (0.35, 0.65)
MAX_SHARED_GRAMS = 0.5
_GRAM_LENGTH = 4
_MIN_LENGTH = 10  # shorter greetings share grams by necessity

SeedRow = dict[str, str]


@dataclass(frozen=True)
class GreetingOverlap:
    """Two greetings that share too many character 4-grams (over the shorter one)."""

    shared_share: float
    first: str
    second: str


def load_seed_rows(seed_folder: Path) -> list[SeedRow]:
    """Every row of the seed files."""
    return [
        json.loads(json_line)
        for seed_file in sorted(seed_folder.glob("*.jsonl"))
        for json_line in seed_file.read_text(encoding="utf-8").splitlines()
        if json_line.strip()
    ]


def find_problems(rows: Sequence[SeedRow]) -> list[str]:
    """Everything that keeps the rows from being a seed corpus, one sentence each."""
    malformed_rows = find_malformed_rows(rows)
    if malformed_rows:
        return malformed_rows
    lowest, highest = LENGTH_AUC
    auc = compute_length_auc(rows)
    issues = find_shortages(rows)
    issues += [
        f"shares {overlap.shared_share:.0%} of its 4-grams: {overlap.first} ~ {overlap.second}"
        for overlap in find_overlaps(collect_greetings(rows))
    ]
    if not lowest <= auc <= highest:
        issues.append(f"length alone tells strong from weak: AUC {auc:.3f} outside {lowest} to {highest}")
    lowest, highest = OPENING_SHARE
    return issues + [
        f"the opening {opening_text!r} is strong in {opening_share:.0%} of its rows"
        for opening_text, opening_share in count_openings(rows).items()
        if not lowest <= opening_share <= highest
    ]


def find_malformed_rows(rows: Iterable[SeedRow]) -> list[str]:
    """Rows with other keys, empty or padded values, or an unknown flaw; repeated prompts."""
    row_faults = []
    seen_prompts: set[str] = set()
    known_flaws = {known_flaw.value for known_flaw in Flaw}
    for row_number, row in enumerate(rows, 1):
        if tuple(row) != SEED_KEYS:
            row_faults.append(f"row {row_number}: the keys are {list(row)}")
            continue
        if any(
            not isinstance(field_value, str) or not field_value or field_value != field_value.strip()
            for field_value in row.values()
        ):
            row_faults.append(f"row {row_number}: an empty or padded value")
        if row["flaw"] not in known_flaws:
            row_faults.append(f"row {row_number}: unknown flaw {row['flaw']!r}")
        if strip_white_space(row["prompt"]) in seen_prompts:
            row_faults.append(f"row {row_number}: the prompt repeats: {row['prompt']}")
        seen_prompts.add(strip_white_space(row["prompt"]))
    return row_faults


def find_shortages(rows: Sequence[SeedRow]) -> list[str]:
    """Where prompts, occasions, recipients, styles or flaws are too few."""
    required_counts = {
        "prompt": MIN_PROMPTS,
        "occasion": MIN_OCCASIONS,
        "recipient": MIN_RECIPIENTS,
        "style": MIN_STYLES,
        "flaw": len(Flaw),
    }
    distinct_counts = {field_name: len({row[field_name] for row in rows}) for field_name in required_counts}
    return [
        f"{distinct_counts[field_name]} distinct {field_name}s, {required_count} wanted"
        for field_name, required_count in required_counts.items()
        if distinct_counts[field_name] < required_count
    ]


def collect_greetings(rows: Iterable[SeedRow]) -> list[str]:
    """Strong and weak greetings in one list."""
    return [row[quality_side] for row in rows for quality_side in ("strong", "weak")]


def find_overlaps(texts: Sequence[str], share_limit: float = MAX_SHARED_GRAMS) -> list[GreetingOverlap]:
    """Pairs of texts of ten or more characters that share more than `share_limit` of their 4-grams."""
    long_texts = [text for text in texts if count_characters(text) >= _MIN_LENGTH]
    text_grams = [_character_grams(text) for text in long_texts]
    # An inverted index: comparing each of 1,320 greetings with each other would be 870,000 comparisons of sets.
    index: dict[str, list[int]] = defaultdict(list)
    large_overlaps = []
    for text_index, own_grams in enumerate(text_grams):
        shared = Counter(other_index for text_gram in own_grams for other_index in index[text_gram])
        for other_index, shared_count in shared.items():
            # Over the shorter one, so that a greeting copied into a longer one counts as wholly shared.
            overlap_share = shared_count / min(len(own_grams), len(text_grams[other_index]))
            if overlap_share > share_limit:
                large_overlaps.append(GreetingOverlap(overlap_share, long_texts[other_index], long_texts[text_index]))
        for text_gram in own_grams:
            index[text_gram].append(text_index)
    return large_overlaps


def _character_grams(text: str) -> set[str]:
    text = strip_white_space(text)
    return {text[gram_start : gram_start + _GRAM_LENGTH] for gram_start in range(len(text) - _GRAM_LENGTH + 1)}


def compute_length_auc(rows: Iterable[SeedRow]) -> float:
    """Probability that a random strong greeting is longer than a random weak one; ties count half."""
    rows = list(rows)
    strong_lengths = Counter(count_characters(row["strong"]) for row in rows)
    weak_lengths = Counter(count_characters(row["weak"]) for row in rows)
    longer_wins = sum(
        strong_count * weak_count * ((strong_length > weak_length) + 0.5 * (strong_length == weak_length))
        for strong_length, strong_count in strong_lengths.items()
        for weak_length, weak_count in weak_lengths.items()
    )
    return longer_wins / len(rows) ** 2 if rows else float("nan")


def count_openings(rows: Iterable[SeedRow], opening_limit: int = 10) -> dict[str, float]:
    """The commonest first four characters and how often they open a strong greeting."""
    opening_counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for row in rows:
        opening_counts[row["weak"][:_GRAM_LENGTH]][0] += 1
        opening_counts[row["strong"][:_GRAM_LENGTH]][1] += 1
    common_openings = sorted(opening_counts.items(), key=lambda entry: (-sum(entry[1]), entry[0]))[:opening_limit]
    return {
        opening_text: strong_count / (weak_count + strong_count)
        for opening_text, (weak_count, strong_count) in common_openings
    }
