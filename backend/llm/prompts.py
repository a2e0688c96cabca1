"""Prompt templates: Chinese text files with `{{name}}` placeholders, filled in a single pass."""

import re
from dataclasses import dataclass
from pathlib import Path

from backend.llm.fence import derive_nonce, fenced
from backend.llm.messages import ChatMessage, Role
from backend.text import digest

FOLDER = Path(__file__).parent / "prompts"
_PLACEHOLDER = re.compile(r"\{\{\s*([a-z_][a-z0-9_]*)\s*\}\}")


@dataclass(frozen=True)
class Template:
    """A template and the hash that stands for it in versions and cache keys."""

    name: str
    text: str

    @property
    def hash(self) -> str:
        """Changes with every character of the text."""
        return digest(self.text)

    @property
    def placeholders(self) -> frozenset[str]:
        """The names it wants."""
        return frozenset(_PLACEHOLDER.findall(self.text))


@dataclass(frozen=True)
class Untrusted:
    """A value that comes from outside: it is put into a fence of its own."""

    text: str
    label: str = "祝福"


def load(name: str, folder: Path = FOLDER) -> Template:
    """The template in `folder/name.txt`. Raises FileNotFoundError."""
    return Template(name, (folder / f"{name}.txt").read_text(encoding="utf-8").strip())


def render(template: Template, **values: str) -> str:
    """The template with its placeholders filled. One pass: braces inside a value are only text.

    Raises ValueError naming the values that are missing or that the template does not know.
    """
    missing, unknown = template.placeholders - values.keys(), values.keys() - template.placeholders
    if missing or unknown:
        raise ValueError(f"template {template.name}: missing {sorted(missing)}, unknown {sorted(unknown)}")
    return _PLACEHOLDER.sub(lambda match: values[match[1]], template.text)


def compose(template: Template, key: bytes, *, role: Role = "user", **values: str | Untrusted) -> ChatMessage:
    """A message from a template, with every `Untrusted` value fenced under a nonce derived with `key`.

    Its identity is the hash of template and values, see `fence.py`. Raises ValueError as `render` does.
    """
    identity = digest(
        template.hash, *(part for name in sorted(values) for part in _parts(name, values[name]))
    )
    nonce = derive_nonce(key, identity)
    filled = {
        name: fenced(value.text, nonce, value.label) if isinstance(value, Untrusted) else value
        for name, value in values.items()
    }
    return ChatMessage(role, render(template, **filled), identity)


def _parts(name: str, value: str | Untrusted) -> tuple[str, ...]:
    if isinstance(value, Untrusted):
        return (name, "fenced", value.label, value.text)
    return (name, "plain", value)
