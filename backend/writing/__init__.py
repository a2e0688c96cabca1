"""Everything about asking for greetings and checking what comes: no torch, no pages.

`wish` reads a request, `checks` finds the fault of an answer, `near` finds texts that say the same: plain
strings in, plain values out. `generators` asks models.
"""
