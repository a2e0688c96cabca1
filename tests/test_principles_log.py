"""What the log of a run says of changes that were tried one by one."""

import pytest

from backend.principles.algorithm.steps import TrimStep
from ui.components.language import Translator
from ui.principles.log import trial_html


@pytest.mark.parametrize(
    ("change", "told"), [([3, 1], "改对 3、改错 1"), ([0, 0], "改对 0、改错 0"), (None, "没法单独撤去")]
)
def test_a_change_that_could_not_be_tried_is_no_zero(change: list[int] | None, told: str) -> None:
    kept = {"changes": [{"added": False, "text": "看<b>语气", "undone": False, "change": change}], "left": "same"}
    shown = trial_html(Translator("zh"), TrimStep.model_validate(kept), {})
    assert told in shown and "看&lt;b&gt;语气" in shown and "留下" in shown
