"""Writes `expected/` anew from what the code gives now: `python -m tests.golden.update [-k WORDS]`.

To be run where a difference is meant, and read as a diff before it is committed. Without `-k` files that no
test asks for any more are removed.
"""

import sys

import pytest

from tests.golden.expected import FOLDER, Mode


def main() -> None:
    """Run the golden tests with writing in the place of comparing."""
    Mode.updating = True
    code = pytest.main([str(FOLDER.parent), "-q", "-p", "no:xdist", *sys.argv[1:]])
    stale = {path for path in FOLDER.rglob("*") if path.is_file()} - Mode.seen
    if code == 0 and len(sys.argv) == 1:
        for path in stale:
            path.unlink()
    sys.exit(code)


if __name__ == "__main__":
    main()
