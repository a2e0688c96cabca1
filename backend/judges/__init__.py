"""Automatic judges, one file each; `scoring/` runs them over the corpus. Judges themselves know no database."""
