"""What stands around every request (`prompt_template`), put into the tokenizer's chat template.

There, training, rollouts, the monitor, whoever serves or exports the artifact and other programs that load it all
read the same, and each request is wrapped once however often a policy is trained on.
"""

import json
import re
from typing import Any

from backend.core.errors import UserError
from backend.training.grpo_settings import REQUEST_PLACE

_BEGIN, _END = "{#- begin of the prompt template -#}\n", "{#- end of the prompt template -#}\n"
# Every request of a conversation, as each was alone in training; Ollama's templates can say that too. Concatenation
# instead of `append`, since templates run in a sandbox whose lists cannot be changed.
_WRAPPING = """\
{%- set turns = namespace(all=[]) -%}
{%- for turn in messages -%}
{%- if turn['role'] == 'user' and turn['content'] is string -%}
{%- set turns.all = turns.all + [{'role': 'user', 'content': BEFORE + turn['content'] + AFTER}] -%}
{%- else -%}
{%- set turns.all = turns.all + [turn] -%}
{%- endif -%}
{%- endfor -%}
{%- set messages = turns.all -%}
"""
_STRINGS = re.compile(r"'content': (\"(?:[^\"\\]|\\.)*\") \+ turn\['content'\] \+ (\"(?:[^\"\\]|\\.)*\")")


def apply_prompt_template(tokenizer: Any, prompt_template: str) -> None:
    """Wrap the requests that `tokenizer` formats, instead of as it did before. An empty text leaves it as it is.

    Raises UserError for a tokenizer without chat template.
    """
    if not prompt_template:
        return
    if not tokenizer.chat_template:
        raise UserError(
            "prompt_template needs a base with a chat template, and this one has none; leave prompt_template empty.",
            "prompt_template 需要带对话模板的 base，而这个没有；请把 prompt_template 留空。",
        )
    tokenizer.chat_template = wrap_requests(tokenizer.chat_template, prompt_template)


def wrap_requests(chat_template: str, prompt_template: str) -> str:
    """The Jinja chat template with each request of a conversation put into `prompt_template`."""
    before, _, after = prompt_template.partition(REQUEST_PLACE)
    # What JSON escapes, Jinja's strings escape the same way.
    wrapping = _WRAPPING.replace("BEFORE", json.dumps(before)).replace("AFTER", json.dumps(after))
    return f"{_BEGIN}{wrapping}{_END}{strip_wrapping(chat_template)}"


def strip_wrapping(chat_template: str) -> str:
    """The chat template as its model came with it."""
    beginning, end_mark, own_template = chat_template.partition(_END)
    return own_template if end_mark and beginning.startswith(_BEGIN) else chat_template


def find_prompt_template(chat_template: str) -> str:
    """The prompt template inside a chat template; empty where it has none."""
    wrapping, end_mark, _ = chat_template.partition(_END)
    strings = _STRINGS.search(wrapping) if end_mark else None
    return REQUEST_PLACE.join(json.loads(text) for text in strings.groups()) if strings else ""
