"""Guides: three steps for every page, in both languages, that lead to pages that exist."""

import re

from ui.guide import GUIDES, guide_button, guide_html
from ui.say import Say
from ui.shell import LANGS, PAGES

PATHS = {page.path for page in PAGES}


def test_every_page_but_the_first_has_a_guide() -> None:
    assert PATHS - {""} <= set(GUIDES)
    for lang in LANGS:
        for path in PATHS - {""}:
            shown = guide_html(Say(lang), path)
            assert shown.count("<li>") == 3
            assert set(re.findall(rf'href="/{lang}/(\w+)"', shown)) <= PATHS
            assert "[" not in shown and "](" not in shown
    assert guide_html(Say("zh"), "") == guide_button(Say("zh"), "") == ""


def test_guides_open_by_themselves_where_a_role_begins() -> None:
    assert {path for path, guide in GUIDES.items() if guide.first} == {"write", "annotate", "agreement"}
