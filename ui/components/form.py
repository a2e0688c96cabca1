"""Forms that know their boxes by name: handlers get what was entered by name, and fill boxes by name."""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from gradio.blocks import Block
from gradio.components import Component

# What a form holds, by the names of its boxes.
EnteredValues = Mapping[str, Any]


class BoxForm:
    """The boxes of a form by name.

    Gradio hands the values of a *set* of boxes to a handler as one mapping, whatever the order of the boxes on the
    page; BoxForm.named turns that into a mapping by name. So a box that is added, moved or left out shifts no
    other value.
    """

    def __init__(self, **boxes_by_name: Component) -> None:
        self._boxes: dict[str, Component] = {}
        self.add_all(boxes_by_name)

    def add(self, box_name: str, form_box: Any) -> Any:
        """Take a box in, and give it back. Raises ValueError where the name is taken."""
        # Silently replaced, the first box would stand on the page and nobody would read it.
        if box_name in self._boxes:
            raise ValueError(f"The form has a box {box_name} already.")
        self._boxes[box_name] = form_box
        return form_box

    def add_all(self, boxes_by_name: Mapping[str, Component]) -> None:
        """Take several boxes in. Raises ValueError where a name is taken."""
        for box_name, form_box in boxes_by_name.items():
            self.add(box_name, form_box)

    def __getitem__(self, box_name: str) -> Any:
        return self._boxes[box_name]

    @property
    def boxes(self) -> Mapping[str, Any]:
        """The boxes by name, in the order in which they were taken in."""
        return self._boxes

    @property
    def inputs(self) -> set[Block]:
        """Every box, as the `inputs` of an event whose handler is wrapped by BoxForm.named."""
        # A set and not a list: for a set Gradio gives one mapping by block, for a list values by position.
        return set(self._boxes.values())

    @property
    def outputs(self) -> list[Component]:
        """Every box, as `outputs` of an event."""
        return list(self._boxes.values())

    def pick_inputs(self, box_names: Iterable[str]) -> set[Block]:
        """Some boxes, as the `inputs` of an event whose handler is wrapped by BoxForm.named."""
        return set(self.pick_outputs(box_names))

    def pick_outputs(self, box_names: Iterable[str]) -> list[Component]:
        """Some boxes, as `outputs` of an event."""
        return [self._boxes[box_name] for box_name in box_names]

    def named(self, handler: Callable[..., Any]) -> Callable[..., Any]:
        """The handler, called with `EnteredValues` where Gradio gives values by box.

        Other arguments that Gradio adds (a request, an event, the progress) pass as they are.
        """

        # The signature stays the handler's own: Gradio reads from it which arguments to add.
        @functools.wraps(handler)
        def named_handler(*arguments: Any, **options: Any) -> Any:
            return handler(*map(self._values_by_name, arguments), **options)

        return named_handler

    def fill(self, values_by_name: EnteredValues) -> dict[Component, Any]:
        """What a handler answers to fill boxes by name; those not named stay as they are.

        To be returned alone or beside other blocks as keys: `{message_block: "", **form.fill(…)}`.
        Raises KeyError for a box that the form does not have.
        """
        return {self._boxes[box_name]: box_value for box_name, box_value in values_by_name.items()}

    def _values_by_name(self, argument: Any) -> Any:
        # Only a mapping whose keys are all blocks comes from a form: JSON of a state is a dict too.
        if not isinstance(argument, dict) or not all(isinstance(block, Block) for block in argument):
            return argument
        # An event may take some of the boxes; the others are missing from what its handler gets.
        return {box_name: argument[form_box] for box_name, form_box in self._boxes.items() if form_box in argument}
