"""Scoring: judges over what the database holds, streaming; verdicts stand under the exact version."""

from backend.scoring.service import TRIVIAL, ScoringService

__all__ = ["TRIVIAL", "ScoringService"]
