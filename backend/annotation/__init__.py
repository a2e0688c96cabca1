"""Campaigns, the lease queue, labels and their undo."""
