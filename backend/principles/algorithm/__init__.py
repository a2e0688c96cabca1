"""The adversarial game over written principles, pure: it knows agents and labels, never the database."""
