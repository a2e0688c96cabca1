"""The pages: a folder a page, `components/` that they share, `shell/` around them.

They talk to services and records only, and keep their HTML in templates.
"""
