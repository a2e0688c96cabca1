"""What gold calls excellent that is none: `python -m bench.gold`; a JSON line for each corpus and kind of text.

For the seed corpus and for what the starter's clauses compose: unseen accepted greetings, random characters of the
vocabulary, characters as often as they are used, good greetings for other requests, one greeting for all, what an
untrained starter writes, greetings of the other corpus, English. `judge` is the n-gram judge alone, which gold was
until November 2026.
"""

import argparse
import json
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from backend.core.settings import PROJECT_ROOT
from backend.core.text import assign_bucket, strip_white_space
from backend.judges.crossfit import TrainingLabel, TrainingPool
from backend.judges.ngram import fit_ngram
from backend.starter import compose
from backend.training.programs.gold import GoldJudge
from backend.training.programs.soundness import learn_soundness

TextPair = tuple[str, str]
# As many requests as the monitor reads by default, twice.
UNTRAINED_REQUESTS, LENGTHS = 128, (24, 96)


@dataclass(frozen=True)
class GoldCorpus:
    """Accepted greetings to learn from and others that are unseen, and labels for the judge."""

    known: list[TextPair]
    unseen: list[TextPair]
    labels: list[TrainingLabel]


def read_seed() -> GoldCorpus:
    """The seed corpus; a fifth of its requests is unseen."""
    files = sorted((PROJECT_ROOT / "data" / "seed").glob("*.jsonl"))
    rows = [json.loads(line) for file in files for line in file.read_text("utf-8").splitlines()]
    accepted = [(row["prompt"], row["strong"]) for row in rows]
    labels = [TrainingLabel(row["prompt"], row[side], side == "strong") for row in rows for side in ("strong", "weak")]
    return GoldCorpus(
        [pair for pair in accepted if assign_bucket(pair[0], 5)],
        [pair for pair in accepted if not assign_bucket(pair[0], 5)],
        labels,
    )


def read_composed(chance: random.Random) -> GoldCorpus:
    """What the clauses compose, in its own split; of the unseen ones 500 whose texts were not learnt from."""
    rows = compose.build_sft_rows()
    known = [(row["prompt"], row["completion"]) for row in rows if row["split"] == "train"]
    texts = {text for _, text in known}
    unseen = [(row["prompt"], row["completion"]) for row in rows if row["split"] != "train"]
    pair_rows = compose.build_pair_rows()
    labels = [
        TrainingLabel(row["prompt"], row[side], side == "chosen")
        for row in pair_rows
        for side in ("chosen", "rejected")
    ]
    return GoldCorpus(known, chance.sample([pair for pair in unseen if pair[1] not in texts], 500), labels)


def meaningless(corpus: GoldCorpus, chance: random.Random) -> dict[str, list[TextPair]]:
    """Texts that are no answers, for the unseen requests."""
    written = [character for _, text in corpus.known for character in strip_white_space(text)]
    requests, texts = [request for request, _ in corpus.unseen], [text for _, text in corpus.unseen]
    vocabulary = sorted(set(written))
    return {
        "random characters": [(request, "".join(chance.choices(vocabulary, k=50))) for request in requests],
        "frequent characters": [(request, "".join(chance.choices(written, k=50))) for request in requests],
        "other requests": list(zip(requests, texts[30:] + texts[:30], strict=True)),
        "one for all": [(request, texts[0]) for request in requests],
        "english": [(request, "Happy birthday to you, may all your wishes come true!") for request in requests],
    }


def untrained(corpus: GoldCorpus) -> Iterator[tuple[str, list[TextPair]]]:
    """What a starter with random weights writes, with the vocabulary of this corpus."""
    import torch
    from transformers import Qwen3ForCausalLM

    from backend.training.programs import models
    from backend.training.programs.callbacks import generate_greetings
    from backend.training.programs.starter_tokenizer import NEVER_WRITTEN, train_tokenizer

    unique = [list(dict.fromkeys(column)) for column in zip(*corpus.known, strict=True)]
    tokenizer = train_tokenizer(*unique)
    torch.manual_seed(0)
    model = Qwen3ForCausalLM(models._config(tokenizer, "wide"))
    model.generation_config.update(suppress_tokens=tokenizer.convert_tokens_to_ids(list(NEVER_WRITTEN)))
    requests = [request for request, _ in corpus.unseen][:UNTRAINED_REQUESTS]
    for length in LENGTHS:
        yield (
            f"untrained, {length} tokens",
            list(zip(requests, generate_greetings(model, tokenizer, requests, length, seed=1), strict=True)),
        )


def figures(gold: GoldJudge, pairs: Sequence[TextPair]) -> dict[str, Any]:
    """Gold and its judge alone on texts for requests."""
    requests, texts = [request for request, _ in pairs], [text for _, text in pairs]
    reading = gold.read_greetings(requests, texts)
    found = {"judge": GoldJudge(gold.judge).read_greetings(requests, texts).excellence, "gold": reading.excellence}
    found |= {"fluent": reading.fluent, "fit": reading.fit, "unseen": reading.unseen, "unscored": reading.unscored}
    rounded = {name: None if math.isnan(figure) else round(figure, 3) for name, figure in found.items()}
    return rounded | {"n": len(pairs), "reason": reading.reason.en if reading.reason else None}


def main() -> None:
    """One JSON line a corpus and kind."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    chance = random.Random(0)
    corpora = {"seed": read_seed(), "composed": read_composed(chance)}
    for name, corpus in corpora.items():
        soundness = learn_soundness(corpus.known)
        assert soundness is not None, "both corpora are large enough"
        gold = GoldJudge(fit_ngram(TrainingPool(labels=corpus.labels)), soundness)
        foreign = corpora["composed" if name == "seed" else "seed"].unseen
        kinds = {
            "accepted": corpus.unseen,
            **meaningless(corpus, chance),
            "other corpus": foreign,
            **dict(untrained(corpus)),
        }
        for kind, pairs in kinds.items():
            print(json.dumps({"corpus": name, "kind": kind} | figures(gold, pairs), ensure_ascii=False), flush=True)
        samples = [figures(gold, chance.sample(corpus.unseen, 64)) for _ in range(20)]
        lost = [sample["judge"] - sample["gold"] for sample in samples]
        print(
            json.dumps(
                {"corpus": name, "kind": "accepted, 20 × 64", "mean_loss": round(fmean(lost), 3), "most": max(lost)}
            )
        )


if __name__ == "__main__":
    main()
