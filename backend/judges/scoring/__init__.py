"""Judges over what the database holds, streaming; verdicts stand under the exact version."""
