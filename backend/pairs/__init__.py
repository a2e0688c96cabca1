"""From prompts to preference pairs: runs that write, judge, pair and balance, and who decided each pair."""
