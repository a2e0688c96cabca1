"""The page of principles."""
