"""What models with real chat templates read and write: thoughts, ends of turns, rows that are left out, bad bases."""

import json
import os
from typing import Any

import pytest

from backend.generation.thoughts import holds_thought, remove_thoughts
from tests import warm

GREETING = "祝您生日快乐，福如东海。"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("chat")
    done = warm.run("tests.chat_runs", str(out), env=os.environ | {"ZHUFU_HOME": str(out / "home")})
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads((out / "results.json").read_text("utf-8"))
    return found


@pytest.mark.parametrize(
    ("written", "answer"),
    [
        ("新年好！", "新年好！"),
        (" 新年好！ ", " 新年好！ "),
        ("<think>\n\n</think>\n\n新年好！", "新年好！"),
        ("<think>对方是奶奶</think>新年好！", "新年好！"),
        ("<think>\n对方是奶奶</think>\n<think>再想</think>\n新年好！", "新年好！"),
        ("对方是奶奶。\n</think>\n\n新年好！", "新年好！"),
        ("<reasoning>她爱听戏</reasoning>新年好！", "新年好！"),
        ("<think>对方是奶奶，要亲", None),
        ("新年<think>好", None),
        ("<think>想</think><think>再想", None),
        ("<think>想</think>", ""),
    ],
)
def test_an_answer_is_what_follows_the_thoughts(written: str, answer: str | None) -> None:
    assert remove_thoughts(written) == answer
    assert answer is None or remove_thoughts(answer) == answer


def test_an_empty_thought_is_none() -> None:
    assert [holds_thought(text) for text in ("<think>\n\n</think>好", "<think>想</think>好", "好")] == [
        False,
        True,
        False,
    ]


def test_a_qwen3_that_is_not_to_think_learns_no_thoughts_and_its_files_say_so(results: dict[str, Any]) -> None:
    found = results["thinking"]
    assert found["learnt"]["ended"] == "done"
    assert found["labels"] == f"{GREETING}<|im_end|>\n", "the empty thought is the template's, before an answer too"
    assert found["rendered"].endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    assert found["rendered_thinking"].endswith("<|im_start|>assistant\n"), "whoever asks for thoughts still gets them"
    assert found["written"] == [GREETING] * 6
    assert [sample["text"] for sample in found["learnt"]["samples"]] == [GREETING] * 2


def test_one_that_is_to_think_learns_thoughts_and_no_empty_ones(results: dict[str, Any]) -> None:
    found = results["thinking"]
    assert found["thinks"] == "done"
    assert f"<think>\n想\n</think>\n\n{GREETING}<|im_end|>\n" in found["thinking_labels"]
    assert "36 without the thoughts that thinking=true would teach" in found["thoughtless"]
    assert "set thinking=false" in found["thoughtless"]
    assert found["opening"] == ["<think>\n\n</think>\n\n", ""]


def test_a_reward_never_sees_thoughts_and_an_unfinished_one_is_unscored(results: dict[str, Any]) -> None:
    found = results["thinking"]
    assert found["shown"] == ["", "祝您快乐", "新年好！", ""]
    assert found["values"] == [None, 4.0, 4.0, None]
    assert list(found["counted"].values()) == [2] and found["tokens"] == 13


def test_a_base_model_learns_to_stop_where_its_turns_end(results: dict[str, Any]) -> None:
    found = results["stopping"]
    assert found["learnt"]["ended"] == "done" and found["eos"] == "<|im_end|>"
    assert found["ends"] == found["merged"] == ["<|im_end|>", "<|endoftext|>"], "an adapter's merged model as well"
    assert found["written"] == [GREETING] * 6
    assert found["lengths"] == [found["expected"]] * 6, "by its files alone"


def test_a_base_without_a_chat_template_is_a_sentence_or_gets_a_stated_one(results: dict[str, Any]) -> None:
    found = results["stopping"]
    assert "has no chat template; set chat_template=chatml (or plain)" in found["bare"]
    assert found["chatml"] == found["plain"] == "done"


def test_what_is_left_out_is_counted_and_nothing_is_cut(results: dict[str, Any]) -> None:
    found = results["rows"]
    assert found["sft"]["ended"] == found["reward"]["ended"] == "done"
    assert any(
        "train: 6 of 36 greetings are left out: 6 longer than 128 tokens" in line for line in found["sft"]["logs"]
    )
    assert any("6 longer than 512 tokens" in line for line in found["sft_context"]["logs"]), "what the model reads"
    [told] = [line for line in found["reward"]["logs"] if "left out" in line]
    assert "9 of 36 pairs are left out: 3 of two equal greetings, 5 longer than 128 tokens, 1 with nothing" in told
    assert "36 个偏好对中有 9 个未用" in told
    assert found["same_text"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "sft_none",
            "0 of 36 greetings can be learnt from, at least 20 are needed (left out: 36 longer than 16 tokens)",
        ),
        ("pairs_none", "32 longer than 16 tokens, 1 with nothing after a thought); raise max_length"),
        ("pairs_equal", "(left out: 36 of two equal greetings); import or label others"),
        ("pair", "at least 20 are needed"),
    ],
)
def test_nothing_to_learn_from_is_one_sentence(results: dict[str, Any], name: str, words: str) -> None:
    assert results["rows"][name].startswith("error: ") and words in results["rows"][name]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("pickles", "holds its weights as a pickle (pytorch_model.bin)"),
        ("foreign_words", "has another tokenizer than its base"),
        ("foreign_shape", "their shapes differ"),
        ("gone", "which is gone; bring it back"),
        ("context", "reads 512 tokens; lower max_length"),
        ("requests", "0 of 36 requests can be learnt from, at least 2 are needed (left out: 36 longer than 16 tokens)"),
        (
            "gated",
            "cannot be loaded (You are trying to access a gated repo.); check the name, the network, or HF_TOKEN",
        ),
        ("code", "name the base itself or nothing"),
        ("words", "they do not belong together"),
    ],
)
def test_a_base_that_cannot_be_used_is_one_sentence(results: dict[str, Any], name: str, words: str) -> None:
    assert results["bases"][name].startswith("error: ") and words in results["bases"][name]
