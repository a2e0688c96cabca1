"""One lifecycle for all long work."""
