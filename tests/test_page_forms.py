"""Forms know their boxes by name, and a page of runs is sent only what changed and never another choice."""

from typing import Any

import gradio as gr
import pytest

from ui.components.form import BoxForm, EnteredValues
from ui.components.language import Translator
from ui.components.run_watcher import RunSnapshot, RunWatcher


def boxes() -> BoxForm:
    return BoxForm(second=gr.Textbox(), first=gr.Number())


def test_a_handler_gets_values_by_name_and_other_arguments_as_they_are() -> None:
    form = boxes()

    def handler(request: str, entered: EnteredValues, progress: Any = None) -> Any:
        return request, dict(entered), progress

    entered = {form["first"]: 1, form["second"]: "two"}
    assert form.named(handler)("asked", entered, 0.5) == ("asked", {"first": 1, "second": "two"}, 0.5)
    assert form.named(lambda some: dict(some))({form["first"]: 3}) == {"first": 3}


def test_boxes_are_filled_by_name_and_others_left_alone() -> None:
    form = boxes()
    assert form.fill({"first": 2}) == {form["first"]: 2}
    with pytest.raises(KeyError):
        form.fill({"third": 3})
    with pytest.raises(ValueError, match="first already"):
        form.add("first", form["second"])


class ChangingRuns:
    """Runs that a test can change."""

    def __init__(self) -> None:
        self.runs, self.text, self.snapshots = [1], "<b>new</b>", 0

    def snapshot(self, run_id: int | None) -> RunSnapshot:
        self.snapshots += 1
        shown = run_id if run_id in self.runs else (self.runs[0] if self.runs else None)
        facts = {"head": self.text, "pause": shown is not None}
        return RunSnapshot([(f"run {run}", run) for run in self.runs], shown, bool(self.runs), facts)

    def mark(self, run_id: int | None) -> str:
        return f"{self.runs} {self.text} {run_id}"


def watcher(changing: ChangingRuns, *, marked: bool = False) -> RunWatcher:
    parts = {"head": gr.HTML(), "pause": gr.Button()}
    mark = changing.mark if marked else None
    return RunWatcher(Translator("en"), gr.Dropdown(), gr.HTML(), parts, changing.snapshot, mark)


def test_only_what_changed_is_sent() -> None:
    changing = ChangingRuns()
    watch = watcher(changing)
    seen, timer, choices, head, pause = watch.poll_updates(None, None, choose=True)
    assert timer["value"] < 10 and choices["value"] == 1 and choices["visible"]
    assert head == "<b>new</b>", "an HTML block gets its fact as its value, though Gradio calls it a container"
    assert pause == gr.update(visible=True)
    changing.text = "later"
    seen, *updates = watch.poll_updates(1, seen)
    assert updates == [gr.skip(), gr.skip(), "later", gr.skip()]


def test_an_answer_takes_no_choice_back_unless_the_run_is_not_there() -> None:
    changing = ChangingRuns()
    changing.runs = [2, 1]
    watch = watcher(changing)
    assert "value" not in watch.poll_updates(1, {})[2]
    assert watch.poll_updates(7, {})[2]["value"] == 2
    changing.runs = []
    choices = watch.poll_updates(2.0, {})[2]
    assert choices["value"] is None and not choices["visible"]


def test_where_the_mark_is_the_same_no_rows_are_read() -> None:
    changing = ChangingRuns()
    watch = watcher(changing, marked=True)
    seen = watch.poll_updates(1, None)[0]
    assert watch.poll_updates(1, seen) == [gr.skip()] * 5 and changing.snapshots == 1
    changing.text = "later"
    assert watch.poll_updates(1, seen)[3] == "later" and changing.snapshots == 2
