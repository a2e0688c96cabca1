"""The playground: a visitor asks, generators write, what was shown is kept, what was liked flows back.

Start reading at `service.py`; `author.py` writes one card, `live.py` is what the page sees meanwhile.
"""
