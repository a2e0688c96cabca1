"""A tokenizer in the terms of GGUF: texts and types of its tokens, merges, and how llama.cpp splits a text first.

Byte-level BPE goes over as it is. The starter's tokenizer (Unigram with separators between the characters of a
request) has no counterpart there; what it does with a request is expressed as byte-level BPE whose merges spell
single characters and numbers only, and its chat template then needs no separators.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gguf import TokenType
from gguf.vocab import bytes_to_unicode
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

from backend.core.errors import UserError
from backend.training.programs.ollama_files import settle_thinking
from backend.training.programs.starter_tokenizer import BOT_TOKEN, BYTE_TOKENS, DIGITS, END_TOKEN, SEPARATOR, USER_TOKEN

# llama.cpp's name for the split that ByteLevel makes by itself.
PLAIN_SPLIT = "gpt-2"
# As the starter's own, without separators: here a request is read character by character anyway.
STARTER_TEMPLATE = (
    "{% for turn in messages %}"
    f"{{% if turn['role'] == 'user' %}}{USER_TOKEN}{{{{ turn['content'] }}}}"
    f"{{% elif turn['role'] == 'assistant' %}}{BOT_TOKEN}{{{{ turn['content'] }}}}{END_TOKEN}{{% endif %}}"
    "{% endfor %}"
    f"{{% if add_generation_prompt %}}{BOT_TOKEN}{{% endif %}}"
)
STARTER_NOTES = [
    "This model answers one request at a time: in the turns before it, greetings are read character by character.",
    "It was trained to write under rules that llama.cpp and Ollama do not have (no token pair twice, some tokens "
    "never): expect a little more repetition there. Ollama may show the tokens of its plan (<|plan:…|>).",
]
_BYTE_CHARACTERS = bytes_to_unicode()


@dataclass(frozen=True)
class GgufTokenizer:
    """What a GGUF holds of a tokenizer.

    token_texts, token_types: of each row of the embedding, by its id.
    merges: pairs of symbols with a space between them, the first to be applied first.
    split_name: llama.cpp's name of the rule that splits a text before it merges.
    chat_template: Jinja.
    special_ids: ids by role (“eos”, “eot”, “bos”, “pad”).
    differing_texts: numbers that it reads otherwise than the model's own tokenizer.
    notes: sentences for whoever runs the file.
    """

    token_texts: list[str]
    token_types: list[int]
    merges: list[str]
    split_name: str
    chat_template: str
    special_ids: Mapping[str, int]
    add_bos: bool
    differing_texts: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def as_bpe(self) -> Tokenizer:
        """The same as llama.cpp reads it, for comparison; of the plain split only."""
        vocabulary = {token_text: token_id for token_id, token_text in enumerate(self.token_texts)}
        merge_pairs = [tuple(merge.split(" ")) for merge in self.merges]
        # The library wants every half of a merge in its vocabulary, llama.cpp does not.
        for symbol in (symbol for left, right in merge_pairs for symbol in (left, right, left + right)):
            vocabulary.setdefault(symbol, len(vocabulary))
        tokenizer = Tokenizer(BPE(vocabulary, merge_pairs))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        return tokenizer


def read_tokenizer(model_folder: Path, tokenizer: Any, row_count: int) -> GgufTokenizer:
    """The tokenizer of a model with `row_count` rows of embedding; `tokenizer` is the same, loaded by transformers.

    Raises UserError where GGUF has no way to express it.
    """
    description = json.loads((model_folder / "tokenizer.json").read_text("utf-8"))
    model_type = description["model"]["type"]
    # The starter's own alone splits at this mark, which its chat template puts between characters.
    if model_type == "Unigram" and json.dumps(SEPARATOR) in json.dumps(description["pre_tokenizer"]):
        return _express_starter(description, tokenizer, row_count)
    if model_type != "BPE" or description["model"].get("byte_fallback"):
        raise _inexpressible(f"its kind is {model_type}, not byte-level BPE", f"类型是 {model_type}，不是字节级 BPE")
    chat_template = settle_thinking(str(tokenizer.chat_template or ""), tokenizer.special_tokens_map)
    return _express_bpe(description, tokenizer, row_count, chat_template)


def _express_bpe(description: Mapping[str, Any], tokenizer: Any, row_count: int, chat_template: str) -> GgufTokenizer:
    token_texts, token_types = _list_tokens(description["model"]["vocab"], description["added_tokens"], row_count)
    return GgufTokenizer(
        token_texts,
        token_types,
        [merge if isinstance(merge, str) else " ".join(merge) for merge in description["model"]["merges"]],
        _split_name(description["pre_tokenizer"]),
        chat_template,
        _special_ids(tokenizer),
        adds_bos(tokenizer),
    )


def _list_tokens(
    vocabulary: Mapping[str, int], added_tokens: Sequence[Mapping[str, Any]], row_count: int
) -> tuple[list[str], list[int]]:
    highest_id = max([*vocabulary.values(), *(added_token["id"] for added_token in added_tokens)])
    if highest_id >= row_count:
        raise _inexpressible(
            f"it has {highest_id + 1} tokens, the model {row_count}",
            f"它有 {highest_id + 1} 个词元，模型只有 {row_count} 个",
        )
    # An embedding is often longer than its vocabulary, to be divisible by something.
    token_texts = [f"[PAD{token_id}]" for token_id in range(row_count)]
    token_types = [int(TokenType.UNUSED)] * row_count
    for token_text, token_id in vocabulary.items():
        token_texts[token_id], token_types[token_id] = token_text, int(TokenType.NORMAL)
    for added_token in added_tokens:
        token_type = TokenType.CONTROL if added_token["special"] else TokenType.USER_DEFINED
        token_texts[added_token["id"]] = added_token["content"]
        token_types[added_token["id"]] = int(token_type)
    return token_texts, token_types


def _split_name(pre_tokenizer: Mapping[str, Any] | None) -> str:
    """llama.cpp's name of a pre-tokenizer. Raises UserError for one that it is not known to have."""
    steps = [] if pre_tokenizer is None else pre_tokenizer.get("pretokenizers") or [pre_tokenizer]
    step_types = [step["type"] for step in steps]
    if step_types[-1:] == ["ByteLevel"] and not steps[-1]["add_prefix_space"]:
        if step_types == ["ByteLevel"] and steps[0]["use_regex"]:
            return PLAIN_SPLIT
        if step_types == ["Split", "ByteLevel"] and not steps[1]["use_regex"]:
            pattern = steps[0]["pattern"].get("Regex")
            for split_name, known_pattern in GGUF_PRE_TOKENIZER_SPLITS.items():
                if pattern == known_pattern:
                    return str(split_name)
    raise _inexpressible("the way it splits texts is not known to llama.cpp", "llama.cpp 不认识它切分文本的方式")


def _special_ids(tokenizer: Any) -> dict[str, int]:
    special_ids = {
        "eos": tokenizer.eos_token_id,
        # The end of a turn: what Ollama and llama.cpp stop at in a conversation.
        "eot": tokenizer.eos_token_id,
        "bos": tokenizer.bos_token_id,
        "pad": tokenizer.pad_token_id,
    }
    return {role: token_id for role, token_id in special_ids.items() if token_id is not None}


def adds_bos(tokenizer: Any) -> bool:
    """Whether a tokenizer begins every text with its first token."""
    token_ids = tokenizer("a")["input_ids"]
    return tokenizer.bos_token_id is not None and token_ids[:1] == [tokenizer.bos_token_id]


def _express_starter(description: Mapping[str, Any], tokenizer: Any, row_count: int) -> GgufTokenizer:
    pieces = [piece for piece, _ in description["model"]["vocab"]]
    special_texts = {added_token["content"] for added_token in description["added_tokens"]}
    written_texts = {_byte_text(piece) for piece in pieces if piece not in special_texts and piece not in BYTE_TOKENS}
    vocabulary: dict[str, int] = {}
    for token_id, piece in enumerate(pieces):
        vocabulary[_starter_text(piece, special_texts, written_texts)] = token_id
    token_texts, token_types = _list_tokens(vocabulary, description["added_tokens"], row_count)
    numbers = [piece for piece in pieces if len(piece) > 1 and set(piece) <= set(DIGITS)]
    expressed = GgufTokenizer(
        token_texts,
        token_types,
        [*_character_merges(pieces), *_number_merges(numbers, set(pieces))],
        PLAIN_SPLIT,
        STARTER_TEMPLATE,
        _special_ids(tokenizer),
        add_bos=False,
        notes=STARTER_NOTES,
    )
    expressed.differing_texts.extend(_find_differing_texts(expressed, tokenizer, numbers))
    return expressed


def _starter_text(piece: str, special_texts: set[str], written_texts: set[str]) -> str:
    if piece in special_texts:
        return piece
    if piece in BYTE_TOKENS:
        byte_character = _BYTE_CHARACTERS[BYTE_TOKENS.index(piece)]
        # No text may stand twice. A character with a token of its own never needs its byte.
        return piece if byte_character in written_texts else byte_character
    return _byte_text(piece)


def _byte_text(text: str) -> str:
    """A text as byte-level BPE writes it: a printable character for each of its bytes."""
    return "".join(_BYTE_CHARACTERS[byte] for byte in text.encode())


def _character_merges(pieces: Sequence[str]) -> list[str]:
    """Merges that spell every single character from its bytes."""
    merges = {
        f"{symbols[:length]} {symbols[length]}": None
        for symbols in (_byte_text(piece) for piece in pieces if len(piece) == 1)
        for length in range(1, len(symbols))
    }
    return list(merges)


def _number_merges(numbers: Sequence[str], pieces: set[str]) -> list[str]:
    """Merges that join the digits of the numbers with a token of their own, longer ones from shorter ones."""
    merges: dict[str, None] = {}
    for number in sorted(numbers, key=len):
        for cut in range(len(number) - 1, 0, -1):
            if number[:cut] in pieces and number[cut:] in pieces:
                merges[f"{_byte_text(number[:cut])} {_byte_text(number[cut:])}"] = None
                break
    return list(merges)


def _find_differing_texts(expressed: GgufTokenizer, tokenizer: Any, numbers: Sequence[str]) -> list[str]:
    """Numbers that the expressed tokenizer reads otherwise than the starter's own."""
    as_bpe = expressed.as_bpe()
    plain_numbers = [str(number) for number in range(1, 1000)]
    return [
        number
        for number in dict.fromkeys([*numbers, *plain_numbers])
        if as_bpe.encode(number).ids != tokenizer(number, add_special_tokens=False)["input_ids"]
    ]


def _inexpressible(reason_en: str, reason_zh: str) -> UserError:
    return UserError(
        f"The tokenizer of this model cannot be written as GGUF ({reason_en}); export to safetensors instead.",
        f"这个模型的分词器无法写成 GGUF（{reason_zh}），请改为导出 safetensors。",
    )
