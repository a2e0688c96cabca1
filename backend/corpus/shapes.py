"""The kinds of row that are understood, each turned into our field names."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from backend.corpus.columns import complete, resolve, unknown
from backend.corpus.rows import Rejected, Row, make_row
from backend.errors import UserError
from backend.vocabulary import Source

TEMPLATE = "请只生成一条祝福语："
"""Prefix that the published GRPO prompts carry before the request itself."""

KINDS = ("labels", "sharegpt", "alpaca", "trl", "seed", "prompts", "verl", "table")

Fields = dict[str, Any]
_EXTRAS = ("clicks", "flaw", "reason", "occasion", "recipient", "style")


@dataclass(frozen=True)
class Shape:
    """How the rows of one file become normal rows."""

    kind: str
    fields: Callable[[Any], Fields]
    source: Source = Source.IMPORT
    strict: bool = False
    labelled: bool = False

    def row(self, line: int, value: Any) -> Row:
        """Raises Rejected for a row that does not fit."""
        return make_row(line, self.fields(value), strict=self.strict, labelled=self.labelled)


def kind_of(value: Any) -> str | None:
    """The kind one row looks like; None for anything but the kinds with fixed field names."""
    if isinstance(value, str):
        return "prompts"
    if not isinstance(value, Mapping):
        return None
    keys = set(value)
    if {"strong", "weak", "prompt"} <= keys:
        return "seed"
    if "conversations" in keys:
        return "sharegpt"
    if {"instruction", "output"} <= keys:
        return "alpaca"
    if {"query", "response", "label"} <= keys:
        return "labels"
    return _chat_kind(value)


def _chat_kind(value: Mapping[str, Any]) -> str | None:
    if {"chosen", "rejected"} <= set(value) and ("prompt" in value or isinstance(value["chosen"], list)):
        return "trl"
    if {"prompt", "completion"} <= set(value):
        return "trl"
    if isinstance(value.get("prompt"), list):
        return "verl" if {"data_source", "reward_model", "extra_info"} & set(value) else "trl"
    return None


def shape_for(
    name: str, sample: Iterable[Any], kind: str | None, mapping: Mapping[str, str], *, sheet: bool = False
) -> Shape:
    """The shape of the file called `name` from its first rows, a wished kind and a mapping.

    A `sheet` (CSV or workbook) is a table by nature, unless its columns need more than renaming.
    Raises UserError where nothing fits.
    """
    if kind is not None and kind not in KINDS:
        raise UserError(
            f"There is no kind {kind!r}; the kinds are {', '.join(KINDS)}.",
            f"没有“{kind}”这种格式，可用的有：{'、'.join(KINDS)}。",
        )
    rows = list(sample)
    if mapping:
        kind = "table"
    elif kind is None:
        kind = next(filter(None, map(kind_of, rows)), "table")
        kind = "table" if sheet and kind not in ("seed", "alpaca") else kind
    return _table(name, rows, mapping) if kind == "table" else _SHAPES[kind]


def _table(name: str, rows: list[Any], mapping: Mapping[str, str]) -> Shape:
    columns = dict.fromkeys(str(key) for row in rows if isinstance(row, Mapping) for key in row)
    fields = resolve(name, columns, mapping)
    if not complete(columns, fields, mapped=bool(mapping)):
        raise unknown(name, columns)
    if "chosen" in fields:
        fields.pop("response", None)
    if "response" not in fields:
        fields.pop("label", None)

    def pick(value: Any) -> Fields:
        row = _mapping(value)
        return {field: row.get(column) for field, column in fields.items()}

    return Shape("table", pick, strict=True)


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise Rejected("the row is not an object with fields", "这一行不是带字段的对象")
    return value


def _extras(row: Mapping[str, Any]) -> Fields:
    return {name: row[name] for name in _EXTRAS if name in row}


def _prompts(value: Any) -> Fields:
    if isinstance(value, str):
        return {"prompt": value}
    row = _mapping(value)
    return {"prompt": _said(row.get("prompt"), "user")} | _extras(row)


def _labels(value: Any) -> Fields:
    row = _mapping(value)
    return {
        "prompt": row.get("query"),
        "response": row.get("response"),
        "label": row.get("label"),
    } | _extras(row)


def _alpaca(value: Any) -> Fields:
    row = _mapping(value)
    prompt, more = row.get("instruction"), row.get("input")
    if more not in (None, ""):
        if not isinstance(prompt, str) or not isinstance(more, str):
            raise Rejected("instruction and input are not both text", "instruction 与 input 不都是文字")
        prompt = f"{prompt}\n{more}"
    return {"prompt": prompt, "response": row.get("output")} | _extras(row)


def _seed(value: Any) -> Fields:
    row = _mapping(value)
    for name in ("flaw", "occasion", "recipient", "style"):
        if row.get(name) in (None, ""):
            raise Rejected(f"{name} is missing", f"缺少 {name}")
    return {
        "prompt": row.get("prompt"),
        "chosen": row.get("strong"),
        "rejected": row.get("weak"),
    } | _extras(row)


def _sharegpt(value: Any) -> Fields:
    row = _mapping(value)
    turns = row.get("conversations")
    fields = {"prompt": _said(turns, "user"), **_extras(row)}
    if "chosen" in row or "rejected" in row:
        chosen, rejected = (_said(row.get(side), "assistant") for side in ("chosen", "rejected"))
        return fields | {"chosen": chosen, "rejected": rejected}
    if (answer := _said(turns, "assistant")) is not None:
        fields["response"] = answer
        for name in ("label", "kto_tag"):
            if name in row:
                fields["label"] = row[name]
    return fields


def _trl(value: Any) -> Fields:
    row = _mapping(value)
    if "completion" in row:
        fields = {"prompt": _said(row.get("prompt"), "user"), **_extras(row)}
        fields["response"] = _said(row["completion"], "assistant")
        return fields | ({"label": row["label"]} if "label" in row else {})
    if "chosen" not in row and "rejected" not in row:
        return _prompts(row)
    prompt = row["prompt"] if "prompt" in row else _shared_turn(row)
    chosen, rejected = (_said(row.get(side), "assistant") for side in ("chosen", "rejected"))
    return {"prompt": _said(prompt, "user"), "chosen": chosen, "rejected": rejected} | _extras(row)


def _shared_turn(row: Mapping[str, Any]) -> Any:
    """The request that both sides repeat where there is no prompt of its own."""
    prompts = [_said(row.get(side), "user") for side in ("chosen", "rejected")]
    if prompts[0] != prompts[1]:
        raise Rejected("chosen and rejected answer different requests", "优选与落选对应的请求不同")
    return prompts[0]


def _verl(value: Any) -> Fields:
    row = _mapping(value)
    prompt = _said(row.get("prompt"), "user")
    return {"prompt": prompt.removeprefix(TEMPLATE) if isinstance(prompt, str) else prompt}


_ROLES = {"user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant"}


def _said(turns: Any, role: str) -> Any:
    """What `role` said last; a plain text, or a single turn of any role, stands for itself."""
    if isinstance(turns, Mapping):
        return turns.get("value", turns.get("content"))
    if not isinstance(turns, list):
        return turns
    said = None
    for turn in turns:
        if not isinstance(turn, Mapping):
            raise Rejected("a turn of the conversation is not an object", "对话中的一轮不是对象")
        speaker = turn.get("role", turn.get("from"))
        if isinstance(speaker, str) and _ROLES.get(speaker) == role:
            said = turn.get("content", turn.get("value"))
    return said


_SHAPES = {
    shape.kind: shape
    for shape in (
        Shape("labels", _labels),
        Shape("sharegpt", _sharegpt),
        Shape("alpaca", _alpaca, Source.HUMAN),
        Shape("trl", _trl),
        Shape("seed", _seed, Source.HUMAN, strict=True, labelled=True),
        Shape("prompts", _prompts),
        Shape("verl", _verl),
    )
}
