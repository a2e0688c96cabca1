"""Everything that can be taken out of the golden home as a file."""

import json
from pathlib import Path
from typing import Any

from backend.agreement.board_values import format_board_csv
from backend.core.errors import UserError
from tests.golden.looks.home import House
from tests.golden.plain import hash_of, plain

FORMATS = {"trl": ".jsonl", "sharegpt": ".json", "csv": ".csv", "parquet": ".parquet"}
SCOPES: dict[str, dict[str, Any]] = {
    "everything": {},
    "panel": {"panel": True},
    "seed": {"dataset": "seed"},
    "short": {"dataset": "短评"},
    "run": {"dataset": "第一批"},
    "compare": {"campaign": "哪条更好"},
    "validate": {"campaign": "优秀吗"},
    "both": {"dataset": "seed", "campaign": "哪条更好"},
}


def export(house: House, what: str, fmt: str, scope: str, path: Path) -> Any:
    """An export of pairs or labels; the report, or the sentence where there is nothing to write."""
    try:
        return plain(house.corpus.export(what, fmt, path, **SCOPES[scope]), "path")
    except UserError as error:
        return {"refused": error.text("en"), "refused_zh": error.text("zh")}


def export_run(house: House, run: int, fmt: str, path: Path) -> Any:
    """The pairs of a run as the pairs page exports them."""
    return plain(house.pairs.export(run, fmt, path), "path")


def board_csv(house: House, reference: str) -> str:
    """The board as its CSV."""
    return format_board_csv(house.board.board(reference))


def parquet(path: Path) -> dict[str, Any]:
    """What a Parquet file holds. Not its bytes, which name the version of the library that wrote them."""
    import pyarrow.parquet as pq  # a slow import

    found = pq.read_table(path)
    rows = "\n".join(json.dumps(row, ensure_ascii=False) for row in found.to_pylist())
    types = {name: str(found.schema.field(name).type) for name in found.column_names}
    return {"columns": found.column_names, "types": types, "rows_sha256": hash_of(rows)}
