"""The starter's tokenizer: requests character by character, greetings in clauses, plans as tokens nobody is shown."""

import math
import re
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE, Unigram
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

from backend.training.programs.served_folder import PLAN_CLOSE, PLAN_OPEN


def plan_token(plan_word: str) -> str:
    """The token that stands for a word of a plan."""
    return f"{PLAN_OPEN}{plan_word}{PLAN_CLOSE}"


def plan_tokens_of(data_rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Every token that the plans of these rows need, sorted."""
    return sorted({plan_token(plan_word) for data_row in data_rows for plan_word in data_row.get("plan", ())})


def text_with_plan(data_row: Mapping[str, Any], vocabulary: Mapping[str, int]) -> str:
    """The greeting after its plan, or alone where a vocabulary has no tokens for plans."""
    planned_tokens = [plan_token(plan_word) for plan_word in data_row.get("plan", ())]
    return "".join(planned_token for planned_token in planned_tokens if planned_token in vocabulary) + str(
        data_row["completion"]
    )


VOCABULARY_SIZE = 9_500
MAX_WORDS = 1_500
# A token seen less often is hardly learnt; of many greetings a rarer one is not worth its place in a small model.
WORD_FREQUENCY, CLAUSE_FREQUENCY = 10, 4
GREETINGS_PER_WORD_USE, GREETINGS_PER_CLAUSE_USE = 2_000, 6_500
WORD_LENGTH, CLAUSE_LENGTH, SENTENCE_LENGTH = 4, 16, 28
BYTE_TOKENS = [f"<0x{byte:02X}>" for byte in range(256)]
PAD_TOKEN, USER_TOKEN, BOT_TOKEN, END_TOKEN = "<|pad|>", "<|user|>", "<|bot|>", "<|end|>"
SPECIAL_TOKENS = (PAD_TOKEN, USER_TOKEN, BOT_TOKEN, END_TOKEN)
# Turns are the template's to write, and what greetings need beyond bytes are tokens; a young model would
# sprinkle a greeting with both.
NEVER_WRITTEN = (PAD_TOKEN, USER_TOKEN, BOT_TOKEN, *BYTE_TOKENS)
# ASCII's unit separator: the template puts it between the characters of a request, and it is no token.
SEPARATOR = "\x1f"
DIGITS = "0123456789一二三四五六七八九十"
# Log probability of what only spells what has no better token.
LEAST_LOG_PROBABILITY = -30.0
# Requests and greetings only: the starter never saw instructions of a system.
CHAT_TEMPLATE = (
    "{% for turn in messages %}"
    f"{{% if turn['role'] == 'user' %}}{USER_TOKEN}"
    f"{{% for one in turn['content'] %}}{{{{ one }}}}{{% if not loop.last and not"
    f" (one in '{DIGITS}' and loop.nextitem in '{DIGITS}') %}}{SEPARATOR}{{% endif %}}{{% endfor %}}"
    f"{{% elif turn['role'] == 'assistant' %}}{BOT_TOKEN}{{{{ turn['content'] }}}}{END_TOKEN}{{% endif %}}"
    "{% endfor %}"
    f"{{% if add_generation_prompt %}}{BOT_TOKEN}{{% endif %}}"
)
# What tells how old somebody or something is.
_AGE_PATTERN = rf"[{DIGITS}两]{{1,3}}(?=周?岁|周年|大寿|华诞|载)"
_LONG_NUMBER = re.compile(f"[{DIGITS}]{{2,3}}")
_CLAUSE_SPLITTER = pre_tokenizers.Split(Regex(rf"[\s\p{{P}}\p{{S}}]|{_AGE_PATTERN}"), "isolated")
_SENTENCE_SPLITTER = pre_tokenizers.Split(Regex(rf"(?![，、；：])[\s\p{{P}}\p{{S}}]|{_AGE_PATTERN}"), "isolated")


def train_tokenizer(
    requests: Sequence[str], greetings: Sequence[str], plans: Sequence[str] = ()
) -> PreTrainedTokenizerFast:
    """At most 9,500 tokens and those of `plans`; the same texts in the same order give the same one."""
    characters = sorted(set("".join((*requests, *greetings))))
    free_slots = VOCABULARY_SIZE - len(SPECIAL_TOKENS) - len(BYTE_TOKENS) - len(characters) - MAX_WORDS
    sentences = Counter(
        sentence for source_text in greetings for sentence, _ in _SENTENCE_SPLITTER.pre_tokenize_str(source_text)
    )
    clause_frequency = max(CLAUSE_FREQUENCY, len(greetings) // GREETINGS_PER_CLAUSE_USE)
    word_frequency = max(WORD_FREQUENCY, len(greetings) // GREETINGS_PER_WORD_USE)
    token_counts = _bound_sentences(sentences, clause_frequency, max(free_slots, 0) // 2)
    clause_counts = _count_clauses(sentences - Counter(token_counts))
    max_clauses = max(free_slots, 0) - len(token_counts)
    token_counts |= _most_frequent(clause_counts, clause_frequency, CLAUSE_LENGTH, max_clauses)
    word_counts = _count_spelling(greetings, clause_counts, token_counts.keys())
    token_counts |= {word: word_counts[word] for word in sorted(word_counts) if word_counts[word] >= word_frequency}
    token_counts |= _most_frequent(
        Counter(digit_group for source_text in requests for digit_group in _LONG_NUMBER.findall(source_text)),
        CLAUSE_FREQUENCY,
        3,
        MAX_WORDS,
    )
    token_counts = {character: word_counts[character] for character in characters} | token_counts
    total_count = sum(token_counts.values()) + len(token_counts)
    token_scores = [(token_text, LEAST_LOG_PROBABILITY) for token_text in (*SPECIAL_TOKENS, *BYTE_TOKENS)]
    token_scores += [
        (token_text, round(math.log((token_count + 0.5) / total_count), 3))
        for token_text, token_count in token_counts.items()
    ]
    return PreTrainedTokenizerFast(
        tokenizer_object=_build_unigram(token_scores),
        eos_token=END_TOKEN,
        pad_token=PAD_TOKEN,
        additional_special_tokens=[USER_TOKEN, BOT_TOKEN, *plans],
        chat_template=CHAT_TEMPLATE,
        model_max_length=1024,
        clean_up_tokenization_spaces=False,
        padding_side="right",
    )


def _bound_sentences(sentences: Counter[str], least_count: int, max_tokens: int) -> dict[str, int]:
    """Sentences of several clauses, one of which hardly occurs without the others, and how often they do."""
    clause_counts = _count_clauses(sentences)
    bound_counts: Counter[str] = Counter()
    for sentence, count in sentences.items():
        sentence_clauses = [clause for clause, _ in _CLAUSE_SPLITTER.pre_tokenize_str(sentence) if len(clause) > 1]
        if len(sentence_clauses) > 1 and 2 * count > min(clause_counts[clause] for clause in sentence_clauses):
            bound_counts[sentence] = count
    return _most_frequent(bound_counts, least_count, SENTENCE_LENGTH, max_tokens)


def _most_frequent(counts: Counter[str], least_count: int, longest_text: int, max_tokens: int) -> dict[str, int]:
    """What is worth a token of its own, the most frequent first."""
    frequent_texts = [
        (-count, token_text)
        for token_text, count in counts.items()
        if count >= least_count and 1 < len(token_text) <= longest_text
    ]
    return {token_text: -count for count, token_text in sorted(frequent_texts)[:max_tokens]}


def _count_clauses(sentences: Counter[str]) -> Counter[str]:
    clause_counts: Counter[str] = Counter()
    for sentence, count in sentences.items():
        for clause, _ in _CLAUSE_SPLITTER.pre_tokenize_str(sentence):
            clause_counts[clause] += count
    return clause_counts


def _count_spelling(
    greetings: Sequence[str], clause_counts: Counter[str], whole_tokens: Container[str]
) -> Counter[str]:
    """Characters and short words, and how often they stand in the clauses that are no token."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = _CLAUSE_SPLITTER
    trainer = BpeTrainer(
        vocab_size=len(set("".join(greetings))) + MAX_WORDS,
        min_frequency=WORD_FREQUENCY,
        max_token_length=WORD_LENGTH,
        show_progress=False,
    )
    tokenizer.train_from_iterator(greetings, trainer)
    word_counts: Counter[str] = Counter()
    for clause, count in clause_counts.items():
        if clause not in whole_tokens:
            for word in tokenizer.encode(clause).tokens:
                word_counts[word] += count
    return word_counts


def _build_unigram(token_scores: list[tuple[str, float]]) -> Tokenizer:
    tokenizer = Tokenizer(Unigram(token_scores, 0, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(SEPARATOR, "removed"), _SENTENCE_SPLITTER])
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    return tokenizer
