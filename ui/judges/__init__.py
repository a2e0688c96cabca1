"""The page of judges, a tab a file."""
