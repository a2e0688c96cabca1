"""Runs of one kind on a page: one is chosen, polled slowly by one timer, and sent only where something changed."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import gradio as gr
from gradio.blocks import Block

from backend.core.errors import UserError
from backend.core.text import parse_row_number
from ui.components.form import BoxForm, EnteredValues
from ui.components.language import Translator
from ui.components.widgets import fill_on_load, fill_tab, friendly_errors, note, timer_update

# One poll in 2.5 s a page: each open tab holds a stream besides, and a browser has six connections to a host.
POLL_SECONDS = 2.5
# Past the queue, which takes over 100 ms an event where this takes 40; and no overlay that flickers at each
# poll.
SILENT_EVENT: dict[str, Any] = {"queue": False, "show_progress": "hidden"}
PAUSE, RESUME, CANCEL = "pause", "resume", "cancel"
TIMER, RUN_CHOICES, STATE_MARK = "timer", "run_choices", "state_mark"
RUN_BOX, SEEN_BOX = "watched_run", "seen_facts"
# Not `BlockContext`: in Gradio an HTML block is one too, and its fact is its value.
SHOWN_OR_HIDDEN = (gr.Button, gr.Row, gr.Column, gr.Accordion)
# What a browser was sent last, by the name of the part: the fingerprint of the fact behind it.
SeenFacts = dict[str, str]


@dataclass(frozen=True)
class RunSnapshot:
    """The runs of a page at one moment.

    run_choices: the runs that may be chosen, as (label, id).
    shown_id: the run that the facts are about: the one asked for, else another; None where there is none.
    is_busy: whether something changes by itself, so that the page asks again soon.
    part_facts: what each part of the page shows, by its name.
    """

    run_choices: list[tuple[str, int]]
    shown_id: int | None
    is_busy: bool
    part_facts: Mapping[str, Any] = field(default_factory=dict)


class RunWatcher:
    """Keeps the parts of a page up to date with the run that its dropdown names, and steers that run.

    parts_by_name: blocks to keep up to date. A button, row, column or accordion is shown or hidden by its fact; any
        other block gets the fact as its value, unless `part_updates` has a function that makes its update.
    take_snapshot: reads the rows; gets the id of the chosen run, or None.
    quick_mark: something cheap to read that changes whenever a snapshot would; where it has not changed, none is taken.
    """

    def __init__(
        self,
        translate: Translator,
        run_dropdown: gr.Dropdown,
        message_block: gr.HTML,
        parts_by_name: Mapping[str, Block],
        take_snapshot: Callable[[int | None], RunSnapshot],
        quick_mark: Callable[[int | None], str] | None = None,
        part_updates: Mapping[str, Callable[[Any], Any]] | None = None,
    ) -> None:
        self._translate, self.run_dropdown, self.message_block = translate, run_dropdown, message_block
        self._take_snapshot, self._quick_mark, self._part_updates = take_snapshot, quick_mark, dict(part_updates or {})
        # In the state of the browser's session: a reload starts with {} and so gets every part anew. The
        # timer is off until the first answer says whether something runs.
        self._seen_facts, self._poll_timer = gr.State({}), gr.Timer(POLL_SECONDS, active=False)
        self._blocks: dict[str, Block] = {TIMER: self._poll_timer, RUN_CHOICES: run_dropdown, **parts_by_name}

    @property
    def outputs(self) -> list[Any]:
        """The blocks that `poll_updates` answers for, in its order."""
        return [self._seen_facts, *self._blocks.values()]

    @property
    def poll_inputs(self) -> list[Any]:
        """The blocks whose values `poll_updates` takes."""
        return [self.run_dropdown, self._seen_facts]

    def poll_updates(self, run_id: object, seen_facts: SeenFacts | None, *, choose: bool = False) -> list[Any]:
        """New values where something changed since `seen_facts`, nothing elsewhere; in the order of `outputs`.

        With `choose` the dropdown is set to the run that is shown; without, only where it names no run that is there,
        so that an answer that comes late takes no choice back.
        """
        chosen_id = _run_number(run_id)
        # Read before the snapshot: what changes in between is then taken for new at the next poll, and not missed.
        state_mark = self._quick_mark(chosen_id) if self._quick_mark else None
        new_facts = dict(seen_facts or {})
        # A choice is answered whatever the mark: the same state may be shown in a dropdown that names another
        # run.
        if state_mark is not None and new_facts.get(STATE_MARK) == state_mark and not choose:
            return [gr.skip()] * len(self.outputs)
        snapshot = self._take_snapshot(chosen_id)
        part_facts = {TIMER: snapshot.is_busy, RUN_CHOICES: snapshot.run_choices, **snapshot.part_facts}
        block_updates = {}
        for part_name in self._blocks:
            fingerprint = _fingerprint(part_facts[part_name])
            # A part that is sent again loses its scroll place and its open folds, and a press in progress its
            # target.
            is_known = new_facts.get(part_name) == fingerprint
            block_updates[part_name] = gr.skip() if is_known else self._part_update(part_name, part_facts[part_name])
            new_facts[part_name] = fingerprint
        if choose or snapshot.shown_id != chosen_id:
            block_updates[RUN_CHOICES] = _choices_update(snapshot.run_choices) | {"value": snapshot.shown_id}
        if state_mark is not None:
            new_facts[STATE_MARK] = state_mark
        return [new_facts, *block_updates.values()]

    def wire_page(self, address_key: str) -> None:
        """Poll from the opening of the page on, which shows the run that `address_key` of its address names."""

        @friendly_errors(self._translate)
        def load_page(request: gr.Request) -> list[Any]:
            # Without seen facts: after a reload the blocks are empty, whatever a state may hold.
            return self.poll_updates(request.query_params.get(address_key), None, choose=True)

        fill_on_load(load_page, *self.outputs)
        # The address first: a reload at once must find the same run.
        self.run_dropdown.change(None, self.run_dropdown, None, js=_address_script(address_key))
        self.wire_polling()

    def wire_tab(self, gradio_tab: gr.Tab) -> None:
        """Poll from the opening of the page on, and at once when the tab is shown."""
        show_runs = friendly_errors(self._translate)(self.poll_updates)
        fill_tab(gradio_tab, show_runs, self.outputs, self.poll_inputs)
        self.wire_polling()

    def wire_polling(self) -> None:
        """Poll at each tick, and at once where another run is chosen; what was said of the one before goes."""
        poll_run = friendly_errors(self._translate)(self.poll_updates)
        self.run_dropdown.change(poll_run, self.poll_inputs, self.outputs, **SILENT_EVENT)
        # `input` and not `change`: the watcher itself changes the box after a press, whose message must stay.
        self.run_dropdown.input(lambda: "", None, self.message_block, **SILENT_EVENT)
        self._poll_timer.tick(poll_run, self.poll_inputs, self.outputs, **SILENT_EVENT)

    def wire_button(
        self,
        button: gr.Button,
        run_action: Callable[..., Any],
        done_message: tuple[str, str] = ("", ""),
        confirm_question: str = "",
        entered_form: BoxForm | None = None,
        *,
        follow_changed: bool = False,
    ) -> None:
        """What a button does with the chosen run.

        run_action: gets the run's id, and what `entered_form` holds where there is one; a UserError is shown.
        done_message: in both languages, with {} for the id of the run that the action answers.
        confirm_question: what the browser asks first.
        follow_changed: show the run that the action answers, which is a new one, from then on.
        """

        def act_on_run(run_id: int, entered: EnteredValues) -> Any:
            return run_action(run_id) if entered_form is None else run_action(run_id, entered)

        steering_form = BoxForm(**{RUN_BOX: self.run_dropdown, SEEN_BOX: self._seen_facts})
        if entered_form is not None:
            steering_form.add_all(entered_form.boxes)
        button.click(
            steering_form.named(self._action_handler(act_on_run, done_message, follow_changed=follow_changed)),
            steering_form.inputs,
            [self.message_block, *self.outputs],
            js=_confirm_all_script(confirm_question) if confirm_question else None,
            queue=False,
        )

    def _action_handler(
        self,
        act_on_run: Callable[[int, EnteredValues], Any],
        done_message: tuple[str, str],
        *,
        follow_changed: bool,
    ) -> Callable[[EnteredValues], list[Any]]:
        translate = self._translate

        @friendly_errors(translate)
        def handle_click(entered: EnteredValues) -> list[Any]:
            run_id = _run_number(entered[RUN_BOX])
            if run_id is None:
                return [gr.skip()] * (1 + len(self.outputs))
            try:
                changed_run = act_on_run(run_id, entered)
            except UserError as error:
                # The parts too: what made the action impossible, such as an ended job, is usually news to the
                # page.
                return [note(translate.localize(error), "bad"), *self.poll_updates(run_id, entered[SEEN_BOX])]
            message = note(translate(*done_message).format(changed_run.id), "ok") if any(done_message) else ""
            # No seen facts: every part is about another run now.
            if follow_changed:
                return [message, *self.poll_updates(changed_run.id, None, choose=True)]
            return [message, *self.poll_updates(run_id, entered[SEEN_BOX])]

        return handle_click

    def _part_update(self, part_name: str, part_fact: Any) -> Any:
        if part_name in self._part_updates:
            return self._part_updates[part_name](part_fact)
        if part_name == TIMER:
            return timer_update(part_fact, POLL_SECONDS)
        if part_name == RUN_CHOICES:
            return _choices_update(part_fact)
        # After `part_updates`, which may do more with a button than show it.
        if isinstance(self._blocks[part_name], SHOWN_OR_HIDDEN):
            return gr.update(visible=part_fact)
        return part_fact


def build_steering_buttons(translate: Translator, id_prefix: str) -> dict[str, gr.Button]:
    """Pause, resume and cancel, hidden until a snapshot shows them; their ids begin with `id_prefix`."""
    button_labels = {
        PAUSE: translate("暂停", "Pause"),
        RESUME: translate("继续", "Resume"),
        CANCEL: translate("取消", "Cancel"),
    }
    return {
        button_name: gr.Button(
            button_label,
            visible=False,
            min_width=96,
            variant="stop" if button_name == CANCEL else "secondary",
            elem_id=f"{id_prefix}{button_name}",
        )
        for button_name, button_label in button_labels.items()
    }


def _run_number(run_id: object) -> int | None:
    """A run's id as a dropdown or an address holds it."""
    # A number that went through JavaScript comes back as a float.
    return parse_row_number(int(run_id) if isinstance(run_id, float) else run_id)


def _fingerprint(part_fact: Any) -> str:
    """Short, since every open tab holds one for each of its parts, and some facts are long tables."""
    return hashlib.blake2b(repr(part_fact).encode(), digest_size=16).hexdigest()


def _choices_update(run_choices: list[tuple[str, int]]) -> dict[str, Any]:
    return gr.update(choices=run_choices, visible=bool(run_choices))


def _address_script(address_key: str) -> str:
    """JavaScript that writes the chosen run into the address of the page."""
    # Replaced and not pushed: “back” leads to the page before, not through every run that was looked at.
    return f"(id) => {{ if (id) history.replaceState(null, '', `${{location.pathname}}?{address_key}=${{id}}`); }}"


def _confirm_all_script(question: str) -> str:
    """JavaScript that asks before an event with several inputs, which become null where the answer is no."""
    return f"(...given) => confirm({json.dumps(question, ensure_ascii=False)}) ? given : given.map(() => null)"
