"""The kinds of row that are understood, and which column holds what: each becomes our field names."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from backend.core.enums import Source
from backend.core.errors import UserError
from backend.corpus.rows import ImportRow, Rejected, build_row

_FIELD_ALIASES = {
    "prompt": "prompt query request instruction question 请求 提示 提示词 问题 指令 需求 主题",
    "response": "response greeting completion output answer text reply 祝福 祝福语 回复 回答 文案 内容",
    "label": "label good score 标签 标注 是否优秀 优秀",
    "clicks": "clicks click likes upvotes 点击 点击数 点击量 点赞 点赞数",
    "chosen": "chosen preferred better strong winner 优选 更好 较好 好",
    "rejected": "rejected worse weak loser 拒绝 较差 更差 差",
    "flaw": "flaw 缺点 毛病",
    "reason": "reason comment 理由 原因",
    "occasion": "occasion 场合 场景 节日",
    "recipient": "recipient 对象 收信人 接收人",
    "style": "style 风格 文体",
}
_FIELD_BY_ALIAS = {
    field_alias: field for field, alias_text in _FIELD_ALIASES.items() for field_alias in alias_text.split()
}
_SEPARATORS = re.compile(r"[\s_\-\ufeff]+")

FIELD_NAMES = tuple(_FIELD_ALIASES)


def recognise_columns(column_names: Iterable[str]) -> dict[str, str]:
    """Our field -> their column, for the columns whose names are usual; the first of two wins."""
    columns_by_field: dict[str, str] = {}
    for column_name in column_names:
        field_name = _FIELD_BY_ALIAS.get(_SEPARATORS.sub("", column_name).lower())
        if field_name is not None:
            columns_by_field.setdefault(field_name, column_name)
    return columns_by_field


def resolve_columns(file_name: str, file_columns: Iterable[str], column_mapping: Mapping[str, str]) -> dict[str, str]:
    """Our field -> their column; the mapping wins over usual names.

    Raises UserError, naming the columns of `file_name`, where the mapping does not fit it.
    """
    available_columns = tuple(file_columns)
    for field_name, column_name in column_mapping.items():
        if field_name not in _FIELD_ALIASES:
            raise UserError(
                f"There is no field {field_name!r} to map; the fields are {', '.join(FIELD_NAMES)}.",
                f"没有名为“{field_name}”的字段，可用字段：{'、'.join(FIELD_NAMES)}。",
            )
        if column_name not in available_columns:
            raise UserError(
                f"{file_name} has no column {column_name!r}; its columns are {', '.join(available_columns)}.",
                f"{file_name} 没有“{column_name}”这一列，它的列有：{'、'.join(available_columns)}。",
            )
    mapped_columns = set(column_mapping.values())
    usual_columns = {
        field_name: column_name
        for field_name, column_name in recognise_columns(available_columns).items()
        if column_name not in mapped_columns
    }
    return usual_columns | dict(column_mapping)


def is_importable(column_names: Iterable[str], chosen_fields: Mapping[str, str], *, was_mapped: bool) -> bool:
    """Whether rows can be made of these fields.

    A lone prompt column among strangers is left to the mapping: greetings might be lost unseen.
    """
    if "prompt" not in chosen_fields:
        return False
    if ("chosen" in chosen_fields) != ("rejected" in chosen_fields):
        return False
    if {"response", "chosen"} & set(chosen_fields):
        return True
    # These three stand in exports of our own and of other tools, and hold no greetings.
    unknown_columns = set(column_names) - set(chosen_fields.values()) - {"split", "id", "origin"}
    return was_mapped or not unknown_columns


def unknown_columns_error(file_name: str, column_names: Iterable[str]) -> UserError:
    """The error for a file nobody can tell the columns of."""
    available_columns = [str(column_name) for column_name in column_names]
    shown_names = ", ".join(available_columns[:30]) or "none"
    return UserError(
        f"{file_name} fits no known format; its fields are: {shown_names}. Say which is which, as in "
        "--map prompt=COLUMN --map response=COLUMN --map label=COLUMN (or chosen, rejected).",
        f"{file_name} 不属于已知格式，它的字段有：{'、'.join(available_columns[:30]) or '无'}。"
        "请指定对应关系，例如 prompt=列名、response=列名、label=列名（或 chosen、rejected）。",
    )


# Prefix that the published GRPO prompts carry before the request itself.
# Left on, the same request from another file would be another prompt, since prompts are told apart by their
# text.
PROMPT_TEMPLATE = "请只生成一条祝福语："

ROW_KINDS = ("labels", "sharegpt", "alpaca", "trl", "seed", "prompts", "verl", "table")

RowFields = dict[str, Any]
_EXTRA_FIELDS = ("clicks", "flaw", "reason", "occasion", "recipient", "style")


@dataclass(frozen=True)
class RowShape:
    """How the rows of one file become normal rows."""

    kind: str
    extract_fields: Callable[[Any], RowFields]
    source: Source = Source.IMPORT
    strict: bool = False
    labelled: bool = False

    def row(self, line_number: int, row_value: Any) -> ImportRow:
        """Raises Rejected for a row that does not fit."""
        return build_row(line_number, self.extract_fields(row_value), strict=self.strict, with_labels=self.labelled)


def guess_kind(row_value: Any) -> str | None:
    """The kind one row looks like; None for anything but the kinds with fixed field names."""
    if isinstance(row_value, str):
        return "prompts"
    if not isinstance(row_value, Mapping):
        return None
    field_names = set(row_value)
    # From the most specific names to the most general: several kinds have a prompt.
    if {"strong", "weak", "prompt"} <= field_names:
        return "seed"
    if "conversations" in field_names:
        return "sharegpt"
    if {"instruction", "output"} <= field_names:
        return "alpaca"
    if {"query", "response", "label"} <= field_names:
        return "labels"
    return _chat_kind(row_value)


def _chat_kind(row_mapping: Mapping[str, Any]) -> str | None:
    if {"chosen", "rejected"} <= set(row_mapping) and (
        "prompt" in row_mapping or isinstance(row_mapping["chosen"], list)
    ):
        return "trl"
    if {"prompt", "completion"} <= set(row_mapping):
        return "trl"
    if isinstance(row_mapping.get("prompt"), list):
        return "verl" if {"data_source", "reward_model", "extra_info"} & set(row_mapping) else "trl"
    return None


def choose_shape(
    file_name: str,
    sample_rows: Iterable[Any],
    row_kind: str | None,
    column_mapping: Mapping[str, str],
    *,
    is_sheet: bool = False,
) -> RowShape:
    """The shape of the file called `file_name` from its first rows, a wished kind and a mapping.

    With `is_sheet` (CSV or workbook) it is a table by nature, unless its columns need more than renaming.
    Raises UserError where nothing fits.
    """
    if row_kind is not None and row_kind not in ROW_KINDS:
        raise UserError(
            f"There is no kind {row_kind!r}; the kinds are {', '.join(ROW_KINDS)}.",
            f"没有“{row_kind}”这种格式，可用的有：{'、'.join(ROW_KINDS)}。",
        )
    first_rows = list(sample_rows)
    if column_mapping:
        row_kind = "table"
    elif row_kind is None:
        row_kind = next(filter(None, map(guess_kind, first_rows)), "table")
        row_kind = "table" if is_sheet and row_kind not in ("seed", "alpaca") else row_kind
    return _table_shape(file_name, first_rows, column_mapping) if row_kind == "table" else _SHAPES_BY_KIND[row_kind]


def _table_shape(file_name: str, first_rows: list[Any], column_mapping: Mapping[str, str]) -> RowShape:
    columns = dict.fromkeys(str(column_key) for row in first_rows if isinstance(row, Mapping) for column_key in row)
    columns_by_field = resolve_columns(file_name, columns, column_mapping)
    if not is_importable(columns, columns_by_field, was_mapped=bool(column_mapping)):
        raise unknown_columns_error(file_name, columns)
    if "chosen" in columns_by_field:
        columns_by_field.pop("response", None)
    if "response" not in columns_by_field:
        # A label needs a greeting of its own: which of a pair's two it means, nobody can tell.
        columns_by_field.pop("label", None)

    def pick_columns(row_value: Any) -> RowFields:
        row_fields = _require_mapping(row_value)
        return {field_name: row_fields.get(column_name) for field_name, column_name in columns_by_field.items()}

    return RowShape("table", pick_columns, strict=True)


def _require_mapping(row_value: Any) -> Mapping[str, Any]:
    if not isinstance(row_value, Mapping):
        raise Rejected("the row is not an object with fields", "这一行不是带字段的对象")
    return row_value


def _extra_fields(row_fields: Mapping[str, Any]) -> RowFields:
    return {field_name: row_fields[field_name] for field_name in _EXTRA_FIELDS if field_name in row_fields}


def _prompt_fields(row_value: Any) -> RowFields:
    if isinstance(row_value, str):
        return {"prompt": row_value}
    row_fields = _require_mapping(row_value)
    return {"prompt": _last_turn_of(row_fields.get("prompt"), "user")} | _extra_fields(row_fields)


def _label_fields(row_value: Any) -> RowFields:
    row_fields = _require_mapping(row_value)
    return {
        "prompt": row_fields.get("query"),
        "response": row_fields.get("response"),
        "label": row_fields.get("label"),
    } | _extra_fields(row_fields)


def _alpaca_fields(row_value: Any) -> RowFields:
    row_fields = _require_mapping(row_value)
    prompt_text, input_text = row_fields.get("instruction"), row_fields.get("input")
    if input_text not in (None, ""):
        if not isinstance(prompt_text, str) or not isinstance(input_text, str):
            raise Rejected("instruction and input are not both text", "instruction 与 input 不都是文字")
        prompt_text = f"{prompt_text}\n{input_text}"
    return {"prompt": prompt_text, "response": row_fields.get("output")} | _extra_fields(row_fields)


def _seed_fields(row_value: Any) -> RowFields:
    row_fields = _require_mapping(row_value)
    for field_name in ("flaw", "occasion", "recipient", "style"):
        if row_fields.get(field_name) in (None, ""):
            raise Rejected(f"{field_name} is missing", f"缺少 {field_name}")
    return {
        "prompt": row_fields.get("prompt"),
        "chosen": row_fields.get("strong"),
        "rejected": row_fields.get("weak"),
    } | _extra_fields(row_fields)


def _sharegpt_fields(row_value: Any) -> RowFields:
    row_fields = _require_mapping(row_value)
    turns = row_fields.get("conversations")
    known_fields = {"prompt": _last_turn_of(turns, "user"), **_extra_fields(row_fields)}
    if "chosen" in row_fields or "rejected" in row_fields:
        chosen_text, rejected_text = (
            _last_turn_of(row_fields.get(side), "assistant") for side in ("chosen", "rejected")
        )
        return known_fields | {"chosen": chosen_text, "rejected": rejected_text}
    if (answer := _last_turn_of(turns, "assistant")) is not None:
        known_fields["response"] = answer
        # kto_tag is what LLaMA-Factory calls the label of its KTO data.
        for label_field in ("label", "kto_tag"):
            if label_field in row_fields:
                known_fields["label"] = row_fields[label_field]
    return known_fields


def _trl_fields(row_value: Any) -> RowFields:
    row_fields = _require_mapping(row_value)
    if "completion" in row_fields:
        known_fields = {
            "prompt": _last_turn_of(row_fields.get("prompt"), "user"),
            **_extra_fields(row_fields),
        }
        known_fields["response"] = _last_turn_of(row_fields["completion"], "assistant")
        return known_fields | ({"label": row_fields["label"]} if "label" in row_fields else {})
    if "chosen" not in row_fields and "rejected" not in row_fields:
        return _prompt_fields(row_fields)
    prompt_text = row_fields["prompt"] if "prompt" in row_fields else _shared_prompt(row_fields)
    chosen_text, rejected_text = (_last_turn_of(row_fields.get(side), "assistant") for side in ("chosen", "rejected"))
    return {
        "prompt": _last_turn_of(prompt_text, "user"),
        "chosen": chosen_text,
        "rejected": rejected_text,
    } | _extra_fields(row_fields)


def _shared_prompt(row_fields: Mapping[str, Any]) -> Any:
    """The request that both sides repeat where there is no prompt of its own."""
    prompts = [_last_turn_of(row_fields.get(side), "user") for side in ("chosen", "rejected")]
    if prompts[0] != prompts[1]:
        raise Rejected("chosen and rejected answer different requests", "优选与落选对应的请求不同")
    return prompts[0]


def _verl_fields(row_value: Any) -> RowFields:
    row_fields = _require_mapping(row_value)
    prompt_text = _last_turn_of(row_fields.get("prompt"), "user")
    return {"prompt": prompt_text.removeprefix(PROMPT_TEMPLATE) if isinstance(prompt_text, str) else prompt_text}


_CANONICAL_ROLES = {"user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant"}


def _last_turn_of(turns: Any, wanted_role: str) -> Any:
    """What `wanted_role` said last; a plain text, or a single turn of any role, stands for itself."""
    if isinstance(turns, Mapping):
        return turns.get("value", turns.get("content"))
    if not isinstance(turns, list):
        return turns
    last_content = None
    for turn in turns:
        if not isinstance(turn, Mapping):
            raise Rejected("a turn of the conversation is not an object", "对话中的一轮不是对象")
        speaker = turn.get("role", turn.get("from"))
        if isinstance(speaker, str) and _CANONICAL_ROLES.get(speaker) == wanted_role:
            last_content = turn.get("content", turn.get("value"))
    return last_content


_SHAPES_BY_KIND = {
    row_shape.kind: row_shape
    for row_shape in (
        RowShape("labels", _label_fields),
        RowShape("sharegpt", _sharegpt_fields),
        RowShape("alpaca", _alpaca_fields, Source.HUMAN),
        RowShape("trl", _trl_fields),
        RowShape("seed", _seed_fields, Source.HUMAN, strict=True, labelled=True),
        RowShape("prompts", _prompt_fields),
        RowShape("verl", _verl_fields),
    )
}
