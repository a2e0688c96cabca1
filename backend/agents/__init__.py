"""The agents around the panel: what candidates to ask for, which of them to pair, and what would give a
pair away. Pure: they know no database."""
