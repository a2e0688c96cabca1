"""The adversarial game over written principles, pure: it knows agents and labels, never the database.

Start reading at `game.py` (the rounds), then `gate.py` (what lets a proposal in).
"""
