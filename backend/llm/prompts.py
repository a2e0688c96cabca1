"""Prompt templates: Chinese text files with `{{name}}` placeholders, filled in a single pass."""

import re
from dataclasses import dataclass
from pathlib import Path

from backend.llm.fence import derive_nonce, fence_text
from backend.llm.messages import ChatMessage, ChatRole
from backend.text import digest

PROMPT_FOLDER = Path(__file__).parent / "prompts"
_PLACEHOLDER_PATTERN = re.compile(r"\{\{\s*([a-z_][a-z0-9_]*)\s*\}\}")


@dataclass(frozen=True)
class PromptTemplate:
    """A template and the hash that stands for it in versions and cache keys."""

    name: str
    template_text: str

    @property
    def template_hash(self) -> str:
        """Changes with every character of the text."""
        return digest(self.template_text)

    @property
    def placeholders(self) -> frozenset[str]:
        """The names it wants."""
        return frozenset(_PLACEHOLDER_PATTERN.findall(self.template_text))


@dataclass(frozen=True)
class UntrustedText:
    """A value that comes from outside: it is put into a fence of its own."""

    text: str
    label: str = "祝福"


def load_template(template_name: str, folder: Path = PROMPT_FOLDER) -> PromptTemplate:
    """The template in `folder/name.txt`. Raises FileNotFoundError."""
    return PromptTemplate(template_name, (folder / f"{template_name}.txt").read_text(encoding="utf-8").strip())


def render_template(template: PromptTemplate, **values: str) -> str:
    """The template with its placeholders filled. One pass: braces inside a value are only text.

    Raises ValueError naming the values that are missing or that the template does not know.
    """
    missing_names, unknown_names = (
        template.placeholders - values.keys(),
        values.keys() - template.placeholders,
    )
    if missing_names or unknown_names:
        raise ValueError(f"template {template.name}: missing {sorted(missing_names)}, unknown {sorted(unknown_names)}")
    return _PLACEHOLDER_PATTERN.sub(lambda match: values[match[1]], template.template_text)


def compose_message(
    template: PromptTemplate, fence_key: bytes, *, role: ChatRole = "user", **values: str | UntrustedText
) -> ChatMessage:
    """A message from a template, with every `Untrusted` value fenced under a nonce derived with `key`.

    Its identity is the hash of template and values, see `fence.py`. Raises ValueError as `render` does.
    """
    identity = digest(
        template.template_hash,
        *(
            identity_part
            for value_name in sorted(values)
            for identity_part in _identity_parts(value_name, values[value_name])
        ),
    )
    nonce = derive_nonce(fence_key, identity)
    fenced_values = {
        value_name: fence_text(prompt_value.text, nonce, prompt_value.label)
        if isinstance(prompt_value, UntrustedText)
        else prompt_value
        for value_name, prompt_value in values.items()
    }
    return ChatMessage(role, render_template(template, **fenced_values), identity)


def _identity_parts(value_name: str, prompt_value: str | UntrustedText) -> tuple[str, ...]:
    if isinstance(prompt_value, UntrustedText):
        return (value_name, "fenced", prompt_value.label, prompt_value.text)
    return (value_name, "plain", prompt_value)
