"""What comes in and goes out: importers, exporters, the seed corpus, the leakage audit."""
