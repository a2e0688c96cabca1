"""Everything about asking for greetings and checking what comes: no torch, no pages."""
