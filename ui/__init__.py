"""The pages: one file a page, plus shell, strings and assets. Talks to services and records only."""
