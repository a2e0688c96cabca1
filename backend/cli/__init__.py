"""The command line: everything the pages do, for scripts. One file a group of commands.

Every command takes `--json` (one object on stdout, messages on stderr) and exits 0 (done), 1 (ran, but
something failed: the object names it) or 2 (wrong use or bad input: one sentence).
"""

import importlib
import sys

import typer
from sqlalchemy.exc import DataError, OperationalError

from backend.cli.output import exit_with_error
from backend.core.errors import UserError
from backend.core.files import restrict_new_files, translate_disk_fault

app = typer.Typer(
    name="python -m backend",
    no_args_is_help=True,
    # It would write into the shell's own files, which no command here should touch.
    add_completion=False,
    # Typer's own tracebacks show local variables, keys of endpoints among them.
    pretty_exceptions_enable=False,
    help="Zhufu: greetings, labels, judges and training from the command line.",
)

# In the order in which --help lists them: from data in, over judging, to training.
COMMAND_MODULES = (
    "corpus_commands",
    "judge_commands",
    "score_commands",
    "pair_commands",
    "principles_commands",
    "endpoint_commands",
    "job_commands",
    "train_commands",
)
for module_name in COMMAND_MODULES:
    importlib.import_module(f"backend.cli.{module_name}").register(app)


def main() -> None:
    """Run one command; every foreseen error ends as one sentence and exit code 2."""
    # Before anything is written: files under the home folder are their owner's alone.
    restrict_new_files()
    try:
        app()
    except UserError as error:
        exit_with_error(error)
    except OperationalError as error:
        # The driver's own first line: SQLAlchemy's text goes on with the statement and its values, greetings
        # and all.
        cause_text = str(error.orig).strip().splitlines()[0] if error.orig else "no answer"
        exit_with_error(UserError(f"The database refuses ({cause_text}).", f"数据库拒绝了操作（{cause_text}）。"))
    except OSError as error:
        disk_error = translate_disk_fault(error)
        # Not a fault of disk or folder, so a bug, whose traceback is the better answer.
        if disk_error is None:
            raise
        exit_with_error(disk_error)
    except (DataError, OverflowError) as error:  # PostgreSQL's and SQLite's words for the same
        # Any other overflow is a bug of ours and no number that somebody typed.
        if isinstance(error, OverflowError) and "SQLite" not in str(error):
            raise
        exit_with_error(
            UserError("A number is larger than the database holds; give a smaller one.", "数字太大，请改小。")
        )
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        # 128 and the number of SIGINT, as shells have it.
        sys.exit(130)
