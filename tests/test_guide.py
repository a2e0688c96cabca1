"""Guides: three steps for every page, in both languages, that lead to pages that exist."""

import re

from ui.components.language import Translator
from ui.shell.app import LANGUAGES, SITE_PAGES
from ui.shell.guide import PAGE_GUIDES, guide_button, guide_html

PATHS = {page.url_path for page in SITE_PAGES}


def test_every_page_but_the_first_has_a_guide() -> None:
    assert PATHS - {""} <= set(PAGE_GUIDES)
    for lang in LANGUAGES:
        for path in PATHS - {""}:
            shown = guide_html(Translator(lang), path)
            assert shown.count("<li>") == 3
            assert set(re.findall(rf'href="/{lang}/(\w+)"', shown)) <= PATHS
            assert "[" not in shown and "](" not in shown
    assert guide_html(Translator("zh"), "") == guide_button(Translator("zh"), "") == ""


def test_guides_open_by_themselves_where_a_role_begins() -> None:
    assert {path for path, guide in PAGE_GUIDES.items() if guide.opens_itself} == {
        "write",
        "annotate",
        "agreement",
    }
