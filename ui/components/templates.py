"""HTML from Jinja2 templates, which escape whatever is put into them.

A page keeps its templates beside it, in `ui/PAGE/templates/`; `ui/components/templates/parts.html` holds the macros
that several pages use. Text that is already HTML is `Markup`: what `render` returns is, a plain string never.
"""

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

TEMPLATE_ROOT = Path(__file__).parents[1]
PARTS_TEMPLATE = "components/templates/parts.html"


@cache
def _environment() -> Environment:
    # A name that a template misspells is an error in the tests instead of an empty place on the page.
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE_ROOT),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
    )
    environment.filters["thousands"] = "{:,}".format
    return environment


def render(template_path: str, **values: Any) -> Markup:
    """The HTML of a template.

    template_path: below `ui/`, such as "agreement/templates/board.html".
    values: what the template names; `translate` picks the reader's language in it, as in Python.
    """
    # The templates are our own files and escape every value, so their result may be trusted as HTML.
    return Markup(_environment().get_template(template_path).render(**values))


def render_part(part_name: str, *values: Any) -> Markup:
    """The HTML of a macro of `components/templates/parts.html`, given what it takes in that order."""
    # Through the module of the template: macros called from Python are escaped there like the pages.
    part_macro = getattr(_environment().get_template(PARTS_TEMPLATE).module, part_name)
    return Markup(part_macro(*values))
