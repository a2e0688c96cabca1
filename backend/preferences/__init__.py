"""From prompts to preference pairs: candidates, judging, pairing, balance, review."""
