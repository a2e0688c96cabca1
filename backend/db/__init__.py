"""Tables, engine and transactions: the one source of truth."""
