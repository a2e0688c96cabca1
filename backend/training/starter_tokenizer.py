"""The starter's tokenizer: it reads requests character by character and writes greetings in clauses.

A model of two million parameters that spells every clause spends its minutes of CPU on spelling; here a
clause that the corpus repeats is one token, and what is left to learn is which clause answers which request.
Requests stay characters, because people word them freely; but a number of several digits is one token, so
that 十五 is not 五十, and a greeting that names an age repeats that token. Single bytes stand for what was
never seen, so nothing is lost.
"""

import math
import re
from collections import Counter
from collections.abc import Container, Sequence

from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE, Unigram
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

VOCABULARY = 9_500
WORDS = 1_500
WORD_FREQUENCY, CLAUSE_FREQUENCY = 10, 4  # a token seen less often in a small corpus is hardly learnt
WORD_LENGTH, CLAUSE_LENGTH, SENTENCE_LENGTH = 4, 16, 28
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
PAD, USER, BOT, END = "<|pad|>", "<|user|>", "<|bot|>", "<|end|>"
SPECIAL = (PAD, USER, BOT, END)
NEVER_WRITTEN = (PAD, USER, BOT, *BYTES)
"""Turns are the template's to write, and what greetings need beyond bytes are tokens; a young model would
sprinkle a greeting with both."""
APART = "\x1f"
"""ASCII's unit separator: the template puts it between the characters of a request, and it is no token."""
DIGITS = "0123456789一二三四五六七八九十"
LEAST = -30.0
"""Log probability of what only spells what has no better token."""
TEMPLATE = (
    "{% for turn in messages %}"
    f"{{% if turn['role'] == 'user' %}}{USER}"
    f"{{% for one in turn['content'] %}}{{{{ one }}}}{{% if not loop.last and not"
    f" (one in '{DIGITS}' and loop.nextitem in '{DIGITS}') %}}{APART}{{% endif %}}{{% endfor %}}"
    f"{{% elif turn['role'] == 'assistant' %}}{BOT}{{{{ turn['content'] }}}}{END}{{% endif %}}"
    "{% endfor %}"
    f"{{% if add_generation_prompt %}}{BOT}{{% endif %}}"
)
"""Requests and greetings only: the starter never saw instructions of a system."""
_YEARS = rf"[{DIGITS}两]{{1,3}}(?=周?岁|周年|大寿|华诞|载)"
"""What tells how old somebody or something is."""
_LONG = re.compile(f"[{DIGITS}]{{2,3}}")
_CLAUSES = pre_tokenizers.Split(Regex(rf"[\s\p{{P}}\p{{S}}]|{_YEARS}"), "isolated")
_SENTENCES = pre_tokenizers.Split(Regex(rf"(?![，、；：])[\s\p{{P}}\p{{S}}]|{_YEARS}"), "isolated")


def train_tokenizer(
    requests: Sequence[str], greetings: Sequence[str], plans: Sequence[str] = ()
) -> PreTrainedTokenizerFast:
    """At most 9,500 tokens and those of `plans`; the same texts in the same order give the same one."""
    characters = sorted(set("".join((*requests, *greetings))))
    room = VOCABULARY - len(SPECIAL) - len(BYTES) - len(characters) - WORDS
    sentences = Counter(piece for text in greetings for piece, _ in _SENTENCES.pre_tokenize_str(text))
    counts = _bound(sentences, max(room, 0) // 2)
    clauses = _clauses(sentences - Counter(counts))
    counts |= _frequent(clauses, CLAUSE_LENGTH, max(room, 0) - len(counts))
    spelt = _spelt(greetings, clauses, counts.keys())
    counts |= {word: spelt[word] for word in sorted(spelt) if spelt[word] >= WORD_FREQUENCY}
    counts |= _frequent(Counter(number for text in requests for number in _LONG.findall(text)), 3, WORDS)
    counts = {one: spelt[one] for one in characters} | counts
    total = sum(counts.values()) + len(counts)
    scores = [(token, LEAST) for token in (*SPECIAL, *BYTES)]
    scores += [(token, math.log((count + 0.5) / total)) for token, count in counts.items()]
    return PreTrainedTokenizerFast(
        tokenizer_object=_unigram(scores),
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=[USER, BOT, *plans],
        chat_template=TEMPLATE,
        model_max_length=1024,
        clean_up_tokenization_spaces=False,
        padding_side="right",
    )


def _bound(sentences: Counter[str], most: int) -> dict[str, int]:
    """Sentences of several clauses, one of which hardly occurs without the others, and how often they do."""
    seen = _clauses(sentences)
    found: Counter[str] = Counter()
    for sentence, count in sentences.items():
        parts = [part for part, _ in _CLAUSES.pre_tokenize_str(sentence) if len(part) > 1]
        if len(parts) > 1 and 2 * count > min(seen[part] for part in parts):
            found[sentence] = count
    return _frequent(found, SENTENCE_LENGTH, most)


def _frequent(counts: Counter[str], longest: int, most: int) -> dict[str, int]:
    """What is worth a token of its own, the most frequent first."""
    often = [
        (-count, text)
        for text, count in counts.items()
        if count >= CLAUSE_FREQUENCY and 1 < len(text) <= longest
    ]
    return {text: -count for count, text in sorted(often)[:most]}


def _clauses(sentences: Counter[str]) -> Counter[str]:
    found: Counter[str] = Counter()
    for sentence, count in sentences.items():
        for part, _ in _CLAUSES.pre_tokenize_str(sentence):
            found[part] += count
    return found


def _spelt(greetings: Sequence[str], clauses: Counter[str], whole: Container[str]) -> Counter[str]:
    """Characters and short words, and how often they stand in the clauses that are no token."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = _CLAUSES
    trainer = BpeTrainer(
        vocab_size=len(set("".join(greetings))) + WORDS,
        min_frequency=WORD_FREQUENCY,
        max_token_length=WORD_LENGTH,
        show_progress=False,
    )
    tokenizer.train_from_iterator(greetings, trainer)
    found: Counter[str] = Counter()
    for clause, count in clauses.items():
        if clause not in whole:
            for word in tokenizer.encode(clause).tokens:
                found[word] += count
    return found


def _unigram(scores: list[tuple[str, float]]) -> Tokenizer:
    tokenizer = Tokenizer(Unigram(scores, 0, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(APART, "removed"), _SENTENCES])
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens(list(SPECIAL))
    return tokenizer
