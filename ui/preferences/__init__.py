"""The page of preference pairs."""
