"""How varied, repetitive, long and fitting generated greetings are. Standard library only.

Everything counts characters without white space. A figure that is undefined is nan, never 0.
"""

import math
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import fmean, median, pstdev

from backend.core.text import count_characters, strip_white_space
from backend.corpus.occasion import detect_occasion

NAN = float("nan")
# Stands for a count of 0 in BLEU, as in method 1 of Chen & Cherry (2014), who compare ways of smoothing it.
BLEU_EPSILON = 0.1
BLEU_ORDER = 4

# Credit for a greeting that names no occasion (or nobody) where the request names one.
UNNAMED_CREDIT = 0.25

_CLAUSE_BREAK = re.compile(r"[，,、；;：:。．.！!？?…~～]+")
# What requests say about the wished text itself, which a good answer does not repeat.
_FILLER_WORDS = re.compile(
    "高情商|朋友圈|最?经典|最?暖心|最?火|最?美好?的?|最?好[的听]|最佳|简短|简单|独特|精辟|大气|霸气|唯美|温馨|创意|幽默"
    "|抖音|微信|短信|文案|成语|押韵|有[^，]{1,4}的|[一二三四五六七八九十两\\d]+个?[字句条]话?|句句|每日|大全|怎么|如何|什么"
    "|祝福[语词]?|贺[词语]|祝[词愿贺福]?|寄语|吉[祥利]?[语话言]|金句|[短语]?句子?|话语?|问候语?|送给|写给|[给写送发对说的和与关于]"
)
# One line a circle of people; of those a request names, the first counts.
_PEOPLE_CIRCLES: tuple[tuple[str, str], ...] = (
    ("婆家", "岳父|丈人|岳母|丈母娘|公公|婆婆"),
    ("祖辈", "爷爷|奶奶|外公|外婆|姥姥|姥爷|祖父|祖母|老人|老寿星|太婆"),
    ("孙辈", "外孙|孙子|孙女|小孙"),
    ("晚辈", "儿媳|女婿|侄子|侄女|外甥"),
    ("父亲", "爸爸|老爸|父亲|爹"),
    ("母亲", "妈妈|老妈|母亲|娘亲"),
    ("父母", "父母|爸妈|双亲"),
    ("新人", "新人|新郎|新娘|新婚|百年好合|白头"),
    ("丈夫", "老公|丈夫|先生"),
    ("妻子", "老婆|妻子|媳妇|夫人"),
    ("恋人", "男朋友|女朋友|男友|女友|情人|恋人|爱人|对象|宝贝|亲爱的你"),
    ("儿子", "儿子|我儿|男孩|小王子"),
    ("女儿", "女儿|闺女|女孩|小公主"),
    ("孩子", "宝宝|孩子|小孩|小朋友|婴儿|宝贝|千金|小天使"),
    ("兄弟", "哥哥|弟弟|兄弟|大哥|老弟"),
    ("姐妹", "姐姐|妹妹|姐妹|大姐|小妹|闺蜜|闺女"),
    ("老师", "老师|恩师|班主任|师恩|教诲|桃李"),
    ("学生", "同学|学生|学子|同窗"),
    ("上司", "老板|领导|上司|经理|老总|[董理]事长"),
    ("同事", "同事|同仁|伙伴"),
    ("客户", "客户|顾客|新老朋友"),
    ("朋友", "朋友|好友|老友|挚友|友谊|友情"),
    ("自己", "自己|我"),
)
_PEOPLE_RULES = tuple((circle_name, re.compile(circle_words)) for circle_name, circle_words in _PEOPLE_CIRCLES)


def distinct_n(texts: Iterable[str], order: int) -> float:
    """Different n-grams over all n-grams of the texts together (Li et al. 2016); nan where there is none."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(_character_grams(strip_white_space(text), order))
    return len(counts) / counts.total() if counts else NAN


def first_characters(texts: Sequence[str], limit: int) -> list[str]:
    """The first texts of at most `limit` characters together: distinct-n falls with the amount of text."""
    ends = accumulate(map(count_characters, texts))
    return [text for text, end in zip(texts, ends, strict=True) if end <= limit]


def self_bleu(texts: Sequence[str], max_order: int = BLEU_ORDER) -> float:
    """Mean BLEU-n of each text against all others (Zhu et al. 2018): 1 where they say the same.

    BLEU = BP · exp(mean over orders k ≤ n of log p_k), p_k the share of k-grams that another text has as
    often, BLEU_EPSILON for 0 matches; BP = min(1, exp(1 - r/c)) with r the other length closest to c. Empty texts
    are left out; nan for fewer than two.
    """
    squeezed_texts = [squeezed for text in texts if (squeezed := strip_white_space(text))]
    if len(squeezed_texts) < 2:
        return NAN
    log_means = [0.0] * len(squeezed_texts)
    for order in range(1, max_order + 1):
        for index, precision in enumerate(
            _clipped_precisions([Counter(_character_grams(squeezed, order)) for squeezed in squeezed_texts], order)
        ):
            log_means[index] += math.log(precision) / max_order if precision else -math.inf
    lengths = sorted(map(len, squeezed_texts))
    return fmean(
        math.exp(log_mean) * _brevity_penalty(len(squeezed), lengths)
        for log_mean, squeezed in zip(log_means, squeezed_texts, strict=True)
    )


def repetition_share(text: str) -> float:
    """Share of the text that the two copies of its longest repeated n-gram cover, without overlap.

    0 where no character comes twice, 1 for "ABCABC"; nan for an empty text.
    """
    squeezed = strip_white_space(text)
    if not squeezed:
        return NAN
    # Halving works because every part of a repeated stretch is repeated as well.
    shortest, longest = 0, len(squeezed) // 2
    while shortest < longest:
        middle = (shortest + longest + 1) // 2
        shortest, longest = (middle, longest) if _has_repetition(squeezed, middle) else (shortest, middle - 1)
    return 2 * shortest / len(squeezed)


def prompt_fit(prompt: str, greeting: str) -> float:
    """How far the greeting still answers the request, 0 to 1; nan where the request says nothing to check.

    The mean of up to three parts, those that the request names:
    occasion: 1 if a clause of the greeting names the same, 0 if it names only others, else UNNAMED_CREDIT;
    recipient: 1 if the greeting speaks to or of the same circle, 0 if only to others, else UNNAMED_CREDIT;
    words: share of the request's character bigrams, without talk about form, that the greeting echoes.
    An empty greeting answers nothing: 0.
    """
    requested, mentioned = strip_white_space(prompt), strip_white_space(greeting)
    score = _defined_mean(
        (
            _naming_score(_named_occasions(requested), _named_occasions(greeting)),
            _naming_score(set(_named_circles(requested)[:1]), set(_named_circles(mentioned))),
            _echoed_share(requested, mentioned),
        )
    )
    return score if mentioned or math.isnan(score) else 0.0


@dataclass(frozen=True)
class DiversityProfile:
    """Figures of one body of greetings, each for one request."""

    n: int
    empty: float
    length: float
    length_sd: float
    length_median: float
    distinct_2: float
    self_bleu_4: float
    repetition: float
    fit: float


def build_profile(prompts: Sequence[str], texts: Sequence[str]) -> DiversityProfile:
    """The figures of `texts`, written for `prompts` in that order."""
    lengths = [len(strip_white_space(text)) for text in texts]
    return DiversityProfile(
        n=len(texts),
        empty=_defined_mean(float(count == 0) for count in lengths),
        length=_defined_mean(lengths),
        length_sd=pstdev(lengths) if lengths else NAN,
        length_median=median(lengths) if lengths else NAN,
        distinct_2=distinct_n(texts, 2),
        self_bleu_4=self_bleu(texts),
        repetition=_defined_mean(map(repetition_share, texts)),
        fit=_defined_mean(prompt_fit(prompt, text) for prompt, text in zip(prompts, texts, strict=True)),
    )


def _character_grams(squeezed: str, order: int) -> list[str]:
    return [squeezed[index : index + order] for index in range(len(squeezed) - order + 1)]


def _clipped_precisions(counts: Sequence[Counter[str]], order: int) -> list[float]:
    """Clipped precision of each text against the others: the two highest counts of a gram are enough."""
    best_counts: dict[str, tuple[int, int, int]] = {}
    for index, count in enumerate(counts):
        for gram, frequency in count.items():
            best, owner, second = best_counts.get(gram, (0, -1, 0))
            # Best and second best are enough: a text is compared with the best count that is not its own. So
            # one pass instead of all pairs.
            best_counts[gram] = (frequency, index, best) if frequency > best else (best, owner, max(second, frequency))
    precisions = []
    for index, count in enumerate(counts):
        matched = sum(
            min(frequency, best_counts[gram][2] if best_counts[gram][1] == index else best_counts[gram][0])
            for gram, frequency in count.items()
        )
        # Without a character in common the texts are as different as can be: 0, and no smoothing lifts it.
        smoothing = 0.0 if order == 1 else BLEU_EPSILON
        precisions.append((matched or smoothing) / max(1, count.total()))
    return precisions


def _brevity_penalty(text_length: int, lengths: Sequence[int]) -> float:
    position = bisect_left(lengths, text_length)
    neighbors = [*lengths[max(0, position - 1) : position], *lengths[position + 1 : position + 2]]
    # Of two equally close the shorter one, as Papineni et al. (2002) and NLTK have it.
    closest = min(neighbors, key=lambda other: (abs(other - text_length), other))
    return min(1.0, math.exp(1 - closest / text_length))


def _has_repetition(squeezed: str, repeat_length: int) -> bool:
    first_positions: dict[str, int] = {}
    return any(
        index - first_positions.setdefault(gram, index) >= repeat_length
        for index, gram in enumerate(_character_grams(squeezed, repeat_length))
    )


def _named_occasions(greeting: str) -> set[str]:
    return {
        occasion for clause in _CLAUSE_BREAK.split(greeting) if (occasion := detect_occasion(strip_white_space(clause)))
    }


def _named_circles(text: str) -> list[str]:
    """The circles that occur, in the order of the table."""
    return [circle for circle, words in _PEOPLE_RULES if words.search(text)]


def _naming_score(requested: set[str], mentioned: set[str]) -> float:
    if not requested:
        return NAN
    return 1.0 if requested & mentioned else 0.0 if mentioned else UNNAMED_CREDIT


def _echoed_share(requested: str, mentioned: str) -> float:
    grams = {
        gram
        for segment in _FILLER_WORDS.split(requested)
        for clause in _CLAUSE_BREAK.split(segment)
        for gram in _character_grams(clause, 2)
    }
    return fmean(gram in mentioned for gram in grams) if grams else NAN


def _defined_mean(values: Iterable[float]) -> float:
    defined = [score for score in values if not math.isnan(score)]
    return fmean(defined) if defined else NAN
