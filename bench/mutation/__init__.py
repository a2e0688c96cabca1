"""Parts of `python -m bench.mutants`: what is changed, where it is tried, what is known to change nothing."""
