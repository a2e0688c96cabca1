"""The command line: everything the pages do, for scripts. One file a group of commands.

Every command takes `--json` (one object on stdout, messages on stderr) and exits 0 (done), 1 (ran, but
something failed: said in the object) or 2 (wrong use or bad input: one sentence).
"""

import importlib
import sys

import typer
from sqlalchemy.exc import DataError, OperationalError

from backend.cli.output import fail
from backend.errors import UserError
from backend.files import disk_fault, keep_private

app = typer.Typer(
    name="python -m backend",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Zhufu: greetings, labels, judges and training from the command line.",
)

GROUPS = (
    "corpus_commands",
    "agreement_commands",
    "example_commands",
    "judge_commands",
    "score_commands",
    "pair_commands",
    "principles_commands",
    "endpoint_commands",
    "job_commands",
    "train_commands",
    "play_commands",
    "compose_commands",
    "house_commands",
)
for group in GROUPS:
    importlib.import_module(f"backend.cli.{group}").register(app)


def main() -> None:
    """Run one command; every foreseen error ends as one sentence and exit code 2."""
    keep_private()
    try:
        app()
    except UserError as error:
        fail(error)
    except OperationalError as error:
        cause = str(error.orig).strip().splitlines()[0] if error.orig else "no answer"
        fail(UserError(f"The database refuses ({cause}).", f"数据库拒绝了操作（{cause}）。"))
    except OSError as error:
        fault = disk_fault(error)
        if fault is None:
            raise
        fail(fault)
    except (DataError, OverflowError) as error:  # PostgreSQL's and SQLite's words for the same
        if isinstance(error, OverflowError) and "SQLite" not in str(error):
            raise
        fail(
            UserError("A number is larger than the database holds; give a smaller one.", "数字太大，请改小。")
        )
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
