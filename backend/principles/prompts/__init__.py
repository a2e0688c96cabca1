"""One prompt file an agent, and the first S_G."""

from functools import cache
from pathlib import Path

from backend.llm.prompts import Template, load


@cache
def prompt_file(name: str) -> Template:
    """An agent's prompt template."""
    return load(name, Path(__file__).parent)
