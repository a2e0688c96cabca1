"""Whether greetings can be greetings at all: fluent, and for their requests. What a judge of wording alone cannot see.

An n-gram judge calls random characters of its vocabulary excellent as often as not: it weighs the n-grams that it
knows, and never whether they belong together. Everything here is learnt from one half of the accepted greetings and
calibrated on the other, so that the second half passes. No torch.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist, fmean, pstdev
from typing import Self

from backend.core.text import assign_bucket, digest, strip_white_space
from backend.generation.diversity import prompt_fit
from backend.training.programs.reward_terms import MIN_GREETINGS, RequestFit, learn_request_fit

AcceptedPair = tuple[str, str]
# Characters of a window, within which one impossible joint shows.
WINDOW = 8
# Share of accepted greetings that each of the three thresholds may refuse.
REFUSED_SHARE = 0.004
# Beyond so many neither thresholds nor fit move any more, and both take seconds. Characters are counted in all.
MOST_PAIRS = 1500
# Accepted greetings in each half below which nothing can be calibrated.
MIN_HALF = 20
# Standard errors below the accepted greetings' mean fit that count as full: so far, few texts scatter by chance.
FIT_MARGIN = 2.0
# More greetings beyond the thresholds than this are another way of writing, if they fit; if not, they are gibberish.
STRANGE_SHARE, MIN_KNOWN_FIT = 1 / 3, 0.5
_TEXT_START, _TEXT_END = "\x02", "\x03"


class CharacterModel:
    """A character bigram model, interpolated as Witten and Bell (1991) do, with unseen characters at 1 / (V + 1)."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._following: dict[str, Counter[str]] = defaultdict(Counter)
        self._characters: Counter[str] = Counter()
        for text in texts:
            squeezed_text = f"{_TEXT_START}{strip_white_space(text)}{_TEXT_END}"
            self._characters.update(squeezed_text[1:])
            for first, second in pairwise(squeezed_text):
                self._following[first][second] += 1
        self._totals = {first: counts.total() for first, counts in self._following.items()}
        self._character_total = self._characters.total()

    def joint_log_probabilities(self, text: str) -> list[float]:
        """Of each character after the one before, and of the end."""
        squeezed_text = f"{_TEXT_START}{strip_white_space(text)}{_TEXT_END}"
        return [math.log(self._joint_probability(first, second)) for first, second in pairwise(squeezed_text)]

    def single_log_probabilities(self, text: str) -> list[float]:
        """Of each character by itself, and of the end."""
        return [math.log(self._single_probability(character)) for character in f"{strip_white_space(text)}{_TEXT_END}"]

    def unseen_share(self, text: str) -> float:
        """Share of the text's character bigrams that the model has never seen; 1 where there is none."""
        squeezed_text = strip_white_space(text)
        joints = list(pairwise(squeezed_text))
        return fmean(second not in self._following.get(first, ()) for first, second in joints) if joints else 1.0

    def _joint_probability(self, first: str, second: str) -> float:
        single_probability = self._single_probability(second)
        if first not in self._following:
            return single_probability
        counts = self._following[first]
        return (counts[second] + len(counts) * single_probability) / (self._totals[first] + len(counts))

    def _single_probability(self, character: str) -> float:
        kinds = len(self._characters)
        return (self._characters[character] + kinds / (kinds + 1)) / (self._character_total + kinds)


@dataclass(frozen=True)
class Fluency:
    """Mean log probability of a text's characters, that of its least likely window, and what the joints add.

    The last is the mean log of how much likelier a character is after the one before than anywhere: above 0 where a
    text is more than the right characters in any order.
    """

    whole: float
    window: float
    joints: float

    @classmethod
    def measure(cls, character_model: CharacterModel, text: str) -> Self:
        """Of one text."""
        joint_logs = character_model.joint_log_probabilities(text)
        single_logs = character_model.single_log_probabilities(text)
        window_starts = range(max(1, len(joint_logs) - WINDOW + 1))
        return cls(
            fmean(joint_logs),
            min(fmean(joint_logs[start : start + WINDOW]) for start in window_starts),
            fmean(joint_logs) - fmean(single_logs),
        )

    def reaches(self, least: Self) -> bool:
        """Whether no figure lies below that of `least`."""
        return self.whole >= least.whole and self.window >= least.window and self.joints >= least.joints


@dataclass(frozen=True)
class SoundnessReading:
    """Which greetings are fluent; the share of all that fit their requests (chance taken out), and of new bigrams."""

    fluent: list[bool]
    fit_share: float
    unseen_share: float
    # Beyond what a few texts may do by chance.
    answers_requests: bool

    @property
    def is_beyond(self) -> bool:
        """Whether the greetings answer their requests in words too new to be called fluent or not."""
        return fmean(self.fluent) < 1 - STRANGE_SHARE and self.answers_requests


@dataclass(frozen=True)
class FitScale:
    """Mean and spread of the fit of `count` accepted greetings to their own requests, and mean fit to others."""

    accepted_mean: float
    accepted_spread: float
    chance_mean: float
    count: int

    def fit_share(self, fits: Sequence[float]) -> float:
        """Share of texts for their own request, in a mixture with texts for any that has this mean fit; 0 to 1.

        nan where accepted greetings do not fit their own requests better than others.
        """
        full_fit = self.accepted_mean - self._margin(fits)
        if full_fit <= self.chance_mean:
            return math.nan
        return min(1.0, max(0.0, (fmean(fits) - self.chance_mean) / (full_fit - self.chance_mean)))

    def answers_requests(self, fits: Sequence[float]) -> bool:
        """Whether half of the texts, at least, are for their own requests, and surely not all for any."""
        half_fit = self.chance_mean + MIN_KNOWN_FIT * (self.accepted_mean - self.chance_mean)
        return fmean(fits) >= max(half_fit, self.chance_mean + self._margin(fits))

    def _margin(self, fits: Sequence[float]) -> float:
        return FIT_MARGIN * self.accepted_spread * math.sqrt(1 / self.count + 1 / len(fits))


@dataclass(frozen=True)
class SoundnessModel:
    """What accepted greetings are like: their characters, how fluent they are at least, how far they fit."""

    character_model: CharacterModel
    least_fluency: Fluency
    request_fit: RequestFit | None
    fit_scale: FitScale

    def read_greetings(self, requests: Sequence[str], greetings: Sequence[str]) -> SoundnessReading:
        """One reading of greetings written for these requests."""
        fluencies = [Fluency.measure(self.character_model, greeting) for greeting in greetings]
        fits = rate_fits(self.request_fit, requests, greetings)
        return SoundnessReading(
            fluent=[fluency.reaches(self.least_fluency) for fluency in fluencies],
            fit_share=self.fit_scale.fit_share(fits),
            unseen_share=fmean(map(self.character_model.unseen_share, greetings)),
            answers_requests=self.fit_scale.answers_requests(fits),
        )


def learn_soundness(accepted_pairs: Iterable[AcceptedPair]) -> SoundnessModel | None:
    """Learn from (request, accepted greeting); None where there are too few to calibrate on."""
    pairs = sorted(set(accepted_pairs), key=lambda pair: digest(*pair))
    learnt_pairs = [pair for pair in pairs if not _is_held_out(pair)]
    learnt_texts = {strip_white_space(greeting) for _, greeting in learnt_pairs}
    # A text of both halves would pass for fluent because it is known by heart.
    held_out = [pair for pair in pairs if _is_held_out(pair) and strip_white_space(pair[1]) not in learnt_texts][
        :MOST_PAIRS
    ]
    if min(len(learnt_pairs), len(held_out)) < MIN_HALF:
        return None
    character_model = CharacterModel(greeting for _, greeting in learnt_pairs)
    fluencies = [Fluency.measure(character_model, greeting) for _, greeting in held_out]
    request_fit = learn_request_fit(learnt_pairs[:MOST_PAIRS]) if len(learnt_pairs) >= MIN_GREETINGS else None
    requests, greetings = [request for request, _ in held_out], [greeting for _, greeting in held_out]
    # Half the way round: neighbours would be greetings for one request more often.
    others = greetings[len(greetings) // 2 :] + greetings[: len(greetings) // 2]
    own_fits = rate_fits(request_fit, requests, greetings)
    return SoundnessModel(
        character_model,
        Fluency(
            _find_least([fluency.whole for fluency in fluencies]),
            _find_least([fluency.window for fluency in fluencies]),
            _find_least([fluency.joints for fluency in fluencies]),
        ),
        request_fit,
        FitScale(fmean(own_fits), pstdev(own_fits), fmean(rate_fits(request_fit, requests, others)), len(held_out)),
    )


def rate_fits(request_fit: RequestFit | None, requests: Sequence[str], greetings: Sequence[str]) -> list[float]:
    """0 to 1 for each greeting: the mean of the learnt fit and of what request and greeting name alike."""
    learnt_fits = request_fit.rate_greetings(requests, greetings) if request_fit else [None] * len(greetings)
    named_fits = [prompt_fit(request, greeting) for request, greeting in zip(requests, greetings, strict=True)]
    return [
        fmean([fit for fit in fits if fit is not None and not math.isnan(fit)] or [0.0])
        for fits in zip(learnt_fits, named_fits, strict=True)
    ]


def _is_held_out(pair: AcceptedPair) -> bool:
    return assign_bucket(pair[0], 2, hash_salt="soundness") == 1


def _find_least(measurements: Sequence[float]) -> float:
    """What all but REFUSED_SHARE reach. The lower of two estimates: of a few hundred the quantile alone is chance."""
    quantile = sorted(measurements)[int(REFUSED_SHARE * len(measurements))]
    return min(quantile, fmean(measurements) + NormalDist().inv_cdf(REFUSED_SHARE) * pstdev(measurements))
