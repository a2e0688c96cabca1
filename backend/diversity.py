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

from backend.corpus.occasion import occasion_of
from backend.text import length, squeeze

NAN = float("nan")
EPSILON = 0.1
"""Stands for a count of 0 in BLEU, as in method 1 of Chen & Cherry (2014)."""
ORDER = 4

UNSAID = 0.25
"""Credit for a greeting that names no occasion (or nobody) where the request names one."""

_CLAUSE = re.compile(r"[，,、；;：:。．.！!？?…~～]+")
# What requests say about the wished text itself, which a good answer does not repeat.
_FILLER = re.compile(
    "高情商|朋友圈|最?经典|最?暖心|最?火|最?美好?的?|最?好[的听]|最佳|简短|简单|独特|精辟|大气|霸气|唯美|温馨|创意|幽默"
    "|抖音|微信|短信|文案|成语|押韵|有[^，]{1,4}的|[一二三四五六七八九十两\\d]+个?[字句条]话?|句句|每日|大全|怎么|如何|什么"
    "|祝福[语词]?|贺[词语]|祝[词愿贺福]?|寄语|吉[祥利]?[语话言]|金句|[短语]?句子?|话语?|问候语?|送给|写给|[给写送发对说的和与关于]"
)
# One line a circle of people; of those a request names, the first counts.
_PEOPLE: tuple[tuple[str, str], ...] = (
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
_PEOPLE_RULES = tuple((name, re.compile(words)) for name, words in _PEOPLE)


def distinct(texts: Iterable[str], n: int) -> float:
    """Different n-grams over all n-grams of the texts together (Li et al. 2016); nan where there is none."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(_grams(squeeze(text), n))
    return len(counts) / counts.total() if counts else NAN


def first_characters(texts: Sequence[str], size: int) -> list[str]:
    """The first texts of at most `size` characters together: distinct-n falls with the amount of text."""
    ends = accumulate(map(length, texts))
    return [text for text, end in zip(texts, ends, strict=True) if end <= size]


def self_bleu(texts: Sequence[str], n: int = ORDER) -> float:
    """Mean BLEU-n of each text against all others (Zhu et al. 2018): 1 where they say the same.

    BLEU = BP · exp(mean over orders k ≤ n of log p_k), p_k the share of k-grams that another text has as
    often, EPSILON for 0 matches; BP = min(1, exp(1 - r/c)) with r the other length closest to c. Empty texts
    are left out; nan for fewer than two.
    """
    bodies = [body for text in texts if (body := squeeze(text))]
    if len(bodies) < 2:
        return NAN
    logs = [0.0] * len(bodies)
    for order in range(1, n + 1):
        for i, precision in enumerate(_precisions([Counter(_grams(body, order)) for body in bodies], order)):
            logs[i] += math.log(precision) / n if precision else -math.inf
    lengths = sorted(map(len, bodies))
    return fmean(math.exp(log) * _brevity(len(body), lengths) for log, body in zip(logs, bodies, strict=True))


def repetition(text: str) -> float:
    """Share of the text that the two copies of its longest repeated n-gram cover, without overlap.

    0 where no character comes twice, 1 for "ABCABC"; nan for an empty text.
    """
    body = squeeze(text)
    if not body:
        return NAN
    low, high = 0, len(body) // 2
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if _repeats(body, middle) else (low, middle - 1)
    return 2 * low / len(body)


def fit(prompt: str, greeting: str) -> float:
    """How far the greeting still answers the request, 0 to 1; nan where the request says nothing to check.

    The mean of up to three parts, those that the request names:
    occasion: 1 if a clause of the greeting names the same, 0 if it names only others, else UNSAID;
    recipient: 1 if the greeting speaks to or of the same circle, 0 if only to others, else UNSAID;
    words: share of the request's character bigrams, without talk about form, that the greeting echoes.
    An empty greeting answers nothing: 0.
    """
    asked, said = squeeze(prompt), squeeze(greeting)
    value = _mean(
        (
            _named(_occasions(asked), _occasions(greeting)),
            _named(set(_people(asked)[:1]), set(_people(said))),
            _echo(asked, said),
        )
    )
    return value if said or math.isnan(value) else 0.0


@dataclass(frozen=True)
class Profile:
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


def profile(prompts: Sequence[str], texts: Sequence[str]) -> Profile:
    """The figures of `texts`, written for `prompts` in that order."""
    lengths = [len(squeeze(text)) for text in texts]
    return Profile(
        n=len(texts),
        empty=_mean(float(count == 0) for count in lengths),
        length=_mean(lengths),
        length_sd=pstdev(lengths) if lengths else NAN,
        length_median=median(lengths) if lengths else NAN,
        distinct_2=distinct(texts, 2),
        self_bleu_4=self_bleu(texts),
        repetition=_mean(map(repetition, texts)),
        fit=_mean(fit(prompt, text) for prompt, text in zip(prompts, texts, strict=True)),
    )


def _grams(body: str, n: int) -> list[str]:
    return [body[i : i + n] for i in range(len(body) - n + 1)]


def _precisions(counts: Sequence[Counter[str]], order: int) -> list[float]:
    """Clipped precision of each text against the others: the two highest counts of a gram are enough."""
    top: dict[str, tuple[int, int, int]] = {}
    for i, count in enumerate(counts):
        for gram, found in count.items():
            best, owner, second = top.get(gram, (0, -1, 0))
            top[gram] = (found, i, best) if found > best else (best, owner, max(second, found))
    precisions = []
    for i, count in enumerate(counts):
        matched = sum(
            min(found, top[gram][2] if top[gram][1] == i else top[gram][0]) for gram, found in count.items()
        )
        missing = 0.0 if order == 1 else EPSILON
        precisions.append((matched or missing) / max(1, count.total()))
    return precisions


def _brevity(own: int, lengths: Sequence[int]) -> float:
    place = bisect_left(lengths, own)
    others = [*lengths[max(0, place - 1) : place], *lengths[place + 1 : place + 2]]
    closest = min(others, key=lambda other: (abs(other - own), other))
    return min(1.0, math.exp(1 - closest / own))


def _repeats(body: str, size: int) -> bool:
    first: dict[str, int] = {}
    return any(i - first.setdefault(gram, i) >= size for i, gram in enumerate(_grams(body, size)))


def _occasions(greeting: str) -> set[str]:
    return {name for clause in _CLAUSE.split(greeting) if (name := occasion_of(squeeze(clause)))}


def _people(text: str) -> list[str]:
    """The circles that occur, in the order of the table."""
    return [name for name, words in _PEOPLE_RULES if words.search(text)]


def _named(asked: set[str], said: set[str]) -> float:
    if not asked:
        return NAN
    return 1.0 if asked & said else 0.0 if said else UNSAID


def _echo(asked: str, said: str) -> float:
    grams = {
        gram for run in _FILLER.split(asked) for clause in _CLAUSE.split(run) for gram in _grams(clause, 2)
    }
    return fmean(gram in said for gram in grams) if grams else NAN


def _mean(values: Iterable[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return fmean(known) if known else NAN
