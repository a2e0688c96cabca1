"""Streams: pieces as they come, faults in the middle, the ledger as for every other call."""

import asyncio
from typing import Any

import pytest

from backend.llm.client import OpenAIClient
from backend.llm.errors import LLMError, LLMErrorKind
from backend.llm.ledger import MemoryLedger
from backend.llm.messages import ChatMessage, Completion
from tests.llm_fixtures import FAST, FakeLLM

TEXT = "愿你眼里有光，心里有春，日子一天比一天亮堂。"


def stream(fake: FakeLLM, ledger: MemoryLedger, **endpoint: Any) -> tuple[Completion | LLMError, list[str]]:
    """What came of one streamed call, and the pieces that were told."""
    pieces: list[str] = []

    async def run() -> Completion:
        async with OpenAIClient(fake.endpoint(**endpoint), ledger=ledger, policy=FAST) as client:
            return await client.stream([ChatMessage("user", "新年")], pieces.append, seed=3)

    try:
        return asyncio.run(run()), pieces
    except LLMError as error:
        return error, pieces


def test_pieces_come_as_they_are_made_and_the_whole_is_in_the_ledger(fake_llm: FakeLLM) -> None:
    fake_llm.script(text=TEXT)
    ledger = MemoryLedger()
    done, pieces = stream(fake_llm, ledger)
    assert isinstance(done, Completion) and done.text == TEXT and "".join(pieces) == TEXT
    assert len(pieces) == -(-len(TEXT) // 4)
    assert (done.usage.tokens_in, done.usage.tokens_out, done.usage.estimated) == (100, 20, False)
    assert [call.reply for call in ledger.calls] == [TEXT]
    again, told = stream(fake_llm, ledger)
    assert isinstance(again, Completion) and again.cached and told == [TEXT]
    assert sum(fake_llm.state()["asked"].values()) == 1


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("stream_cut", LLMErrorKind.CUT_OFF),
        ("stream_close", LLMErrorKind.CUT_OFF),
        ("stream_stall", LLMErrorKind.TIMEOUT),
        ("stream_garbage", LLMErrorKind.NOT_JSON),
        ("stream_error", LLMErrorKind.ERROR_BODY),
        ("stream_endless", LLMErrorKind.TIMEOUT),
    ],
)
def test_a_stream_that_breaks_in_the_middle_is_one_typed_error(
    fake_llm: FakeLLM, fault: str, kind: LLMErrorKind
) -> None:
    fake_llm.script(text=TEXT, faults={fault: 1.0})
    ledger = MemoryLedger()
    error, pieces = stream(fake_llm, ledger, timeout_s=0.6)
    assert isinstance(error, LLMError) and error.kind is kind and not error.retryable
    assert TEXT.startswith("".join(pieces)[:8]) and pieces, "what was told stays told"
    assert [call.error for call in ledger.calls] == [kind], "no retry once something was shown"


def test_before_the_first_piece_faults_are_retried_as_always(fake_llm: FakeLLM) -> None:
    fake_llm.script(text=TEXT, first_faults=["server_error", "rate_limit", "drop"])
    ledger = MemoryLedger()
    done, pieces = stream(fake_llm, ledger)
    assert isinstance(done, Completion) and "".join(pieces) == TEXT
    assert [call.error for call in ledger.calls] == [
        LLMErrorKind.SERVER_ERROR,
        LLMErrorKind.RATE_LIMITED,
        LLMErrorKind.CUT_OFF,
        None,
    ]


def test_servers_without_streams_or_their_options_are_taken_as_they_are(fake_llm: FakeLLM) -> None:
    fake_llm.script(text=TEXT, streams=False)
    done, pieces = stream(fake_llm, MemoryLedger())
    assert isinstance(done, Completion) and pieces == [TEXT]
    fake_llm.script(text=TEXT, refuses=["stream_options"], usage=False, models=["old"])
    done, pieces = stream(fake_llm, MemoryLedger(), model="old")
    assert isinstance(done, Completion) and "".join(pieces) == TEXT and done.usage.estimated


def test_an_empty_stream_is_no_greeting(fake_llm: FakeLLM) -> None:
    fake_llm.script(text=" ", models=["empty"])
    error, _ = stream(fake_llm, MemoryLedger(), model="empty")
    assert isinstance(error, LLMError) and error.kind is LLMErrorKind.EMPTY
