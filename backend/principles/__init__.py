"""Principles that improve by an adversarial game: archive, runs, replay; `algorithm/` is the pure game."""
