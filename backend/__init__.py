"""Everything of Zhufu that is not a page."""
