"""One prompt file an agent, and the first S_G."""

from functools import cache
from pathlib import Path

from backend.llm.prompts import PromptTemplate, load_template


@cache
def prompt_file(name: str) -> PromptTemplate:
    """An agent's prompt template."""
    return load_template(name, Path(__file__).parent)
