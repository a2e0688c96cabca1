"""A hundred seeded runs of the game in the simulated world of the tests, and a hundred without meaning.

`python -m bench.principles_world [RUNS]` prints how often everything helpful got in and everything harmful
stayed out, how close the locked accuracy comes to the ceiling beside the published ungated loop, one-shot
rewriting and GEPA, and how often labels without meaning let anything in. Pure Python, no model.
"""

import sys

import numpy as np

from backend.core.enums import Role
from tests.principles_world import World, labels, play
from tests.test_principles_game import ALL, SIZE, right, sound, ungated_loop


def main() -> None:
    """Play and print."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    worlds = [(World(seed), labels(SIZE, seed)) for seed in range(runs)]
    played = [play(world, given, evolve_generator=False) for world, given in worlds]
    ceiling = np.array([right(ALL, one.table.partitions.locked) for one in played])
    found = np.array([one.accuracy("best") for one in played])
    rows = {
        "first S_D": [one.accuracy("start") for one in played],
        "one rewriting": [one.accuracy("rewrite") for one in played],
        "ungated loop": [
            right(ungated_loop(one, world), one.table.partitions.locked)
            for one, (world, _) in zip(played, worlds, strict=True)
        ],
        "the game": found,
        "GEPA, gated": [play(world, given, search="gepa", rounds=4).accuracy("best") for world, given in worlds],
        "ceiling": ceiling,
    }
    whole = sum(sound(one, given) for one, (_, given) in zip(played, worlds, strict=True))
    near = int((found >= ceiling - 0.02).sum())
    print(f"runs in which all that helps got in and all that harms stayed out: {whole} of {runs}")
    print(f"runs that end within 2 points of the ceiling: {near} of {runs}")
    for name, values in rows.items():
        print(f"  locked accuracy, {name:<14} {np.mean(values):.3f} (least {np.min(values):.3f})")
    idle = [play(World(seed), labels(SIZE, seed, shuffled=True), evolve_generator=False) for seed in range(runs)]
    let_in = sum(any(outcome.accepted for _, outcome in one.book.decided(Role.DETECTOR)) for one in idle)
    print(f"runs over shuffled labels that accepted anything: {let_in} of {runs}")


if __name__ == "__main__":
    main()
