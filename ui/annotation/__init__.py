"""Annotation: the routes behind the annotate page, and campaigns."""
