"""The playground: a visitor asks, generators write, what was shown is kept, what was liked flows back.

Start reading at service.py; cards.py writes one card, rounds.py is what the page sees meanwhile.
"""
