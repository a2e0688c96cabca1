"""From a scoring job to the HTTP request: few functions of ours in the chain of calls, across tasks and threads."""

import asyncio
import sys
from pathlib import Path
from types import FrameType
from typing import Any
from weakref import WeakKeyDictionary

import openai
import pytest

from backend.core.settings import PROJECT_ROOT
from backend.core.stored_records import stored_json
from backend.judges.scoring.job import ScoringJob
from backend.judges.scoring.service import JOB_KIND
from backend.runs.attempt import run_job
from tests.llm_fixtures import FakeLLM
from tests.scoring_helpers import house, request, verdicts

pytestmark = pytest.mark.database

LONGEST_CHAIN = 12
"""Functions of ours from "score" on the page to the SDK's call; each one more has to be read in every traceback."""
PAGE_HANDLER = "ui/judges: the handler of the button, which stores the request as a job"
COMPREHENSIONS = ("<listcomp", "<genexpr", "<dictcomp", "<setcomp")
"""Frames of their own up to Python 3.11, and no functions to a reader."""
OWN_ROOMS = (str(PROJECT_ROOT / "backend"), str(PROJECT_ROOT / "ui"))


class CallChain:
    """Notes at each task who made it, so that the functions above an HTTP request can be listed across tasks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.longest: list[str] = []
        self._chain_of_task: WeakKeyDictionary[asyncio.Task[Any], list[str]] = WeakKeyDictionary()
        create_task, post = asyncio.BaseEventLoop.create_task, openai.AsyncOpenAI.post

        def create_noted_task(event_loop: Any, *arguments: Any, **options: Any) -> asyncio.Task[Any]:
            chain_above = self._chain_here(sys._getframe(1))
            task = create_task(event_loop, *arguments, **options)
            self._chain_of_task[task] = chain_above
            return task

        async def note_chain_and_post(client: Any, *arguments: Any, **options: Any) -> Any:
            self.longest = max(self.longest, self._chain_here(sys._getframe(1)), key=len)
            return await post(client, *arguments, **options)

        monkeypatch.setattr(asyncio.BaseEventLoop, "create_task", create_noted_task)
        monkeypatch.setattr(openai.AsyncOpenAI, "post", note_chain_and_post)

    def _chain_here(self, frame: FrameType | None) -> list[str]:
        """Functions of ours from the outermost to this one; where the stack ends at a task, those above its making."""
        functions: list[str] = []
        while frame is not None and not _is_event_loop(frame):
            if frame.f_code.co_filename.startswith(OWN_ROOMS) and not frame.f_code.co_name.startswith(COMPREHENSIONS):
                file_name = Path(frame.f_code.co_filename).relative_to(PROJECT_ROOT)
                functions.insert(0, f"{file_name}: {frame.f_code.co_qualname}")
            frame = frame.f_back
        task = asyncio.current_task() if frame is not None else None
        return [*self._chain_of_task.get(task, []), *functions] if task is not None else functions


def _is_event_loop(frame: FrameType) -> bool:
    return frame.f_code.co_name == "_run" and Path(frame.f_code.co_filename).parts[-2:] == ("asyncio", "events.py")


def test_the_way_from_the_page_to_the_request_is_short(
    home: Path, fake_llm: FakeLLM, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with house(fake_llm, 20) as services:
        job = services.jobs.submit(JOB_KIND, stored_json(request(services)))
        chain = CallChain(monkeypatch)
        assert run_job(services.database, job.id, ScoringJob(services.scoring).play) == 0
        assert len(verdicts(services)) == 20
    whole_chain = [PAGE_HANDLER, *chain.longest]
    print("\n".join(f"{number:>2}  {function}" for number, function in enumerate(whole_chain, 1)))
    assert "run_job" in whole_chain[1] and "transport.py" in whole_chain[-1], "the chain is followed from end to end"
    assert len(whole_chain) <= LONGEST_CHAIN, capsys.readouterr().out
