"""Asking for greetings: what a request wants, faults of an answer, near-duplicates, generators. No torch, no pages."""
