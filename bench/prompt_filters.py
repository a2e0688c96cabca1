"""What the filters make of a file of requests: `python -m bench.prompt_filters FILE [--draw SEED]`.

Counts by reason, in the order in which a run of pairs filters. With --draw it prints samples to be read one
by one: requests that were kept, lines that were lost (exact duplicates apart, which nobody need read), and
those that were lost for what they ask.
"""

import argparse
import json
import random
import time
from collections import Counter
from pathlib import Path

from backend.generation.near_duplicates import PROMPT_RULE, NearDuplicateIndex
from backend.preferences.intake import DUPLICATE, NEAR_DUPLICATE, PromptFilter, parse_request

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "random_query.txt"
DRAWN = 50


def main() -> None:
    """Filter the file, count, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, default=SHARED)
    parser.add_argument("--draw", type=int, metavar="SEED")
    given = parser.parse_args()
    lines = [line.strip() for line in given.file.read_text(encoding="utf-8").split("\n") if line.strip()]
    began, sieve = time.process_time(), PromptFilter()
    looked = [(line, sieve.drop_reason(line)) for line in lines]
    used = time.process_time() - began
    counts = Counter(why for _, why in looked if why)
    report = {
        "lines": len(lines),
        "kept": sum(why is None for _, why in looked),
        "kept_with_exact_characters": sum(
            why is None and parse_request(line).exact_chars is not None for line, why in looked
        ),
        "lost": dict(counts.most_common()),
        "cpu_seconds": round(used, 2),
    }
    print(json.dumps(report, indent=1))
    if given.draw is not None:
        _draw(looked, random.Random(given.draw))


def _draw(looked: list[tuple[str, str | None]], chance: random.Random) -> None:
    kept = [line for line, why in looked if why is None]
    lost = sorted({(line, why) for line, why in looked if why not in (None, DUPLICATE)})
    alone = [one for one in lost if one[1] != NEAR_DUPLICATE]
    before = NearDuplicateIndex(PROMPT_RULE)
    for line in kept:
        before.add_if_new(line)
    print(f"\n-- {DRAWN} kept")
    for line in chance.sample(kept, min(DRAWN, len(kept))):
        print(f"  {line}")
    for title, some in (("lost", lost), ("lost for what they ask", alone)):
        print(f"\n-- {DRAWN} {title}")
        for line, why in chance.sample(some, min(DRAWN, len(some))):
            same = f" = {before.find_similar(line)}" if why == NEAR_DUPLICATE else ""
            print(f"  {why}: {line}{same}")


if __name__ == "__main__":
    main()
