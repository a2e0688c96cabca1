"""One client for every OpenAI-compatible endpoint: limits, retries, ledger, budget, tolerant reading.

Start reading at `client.py` (one call), then `ask.py` (one call whose reply is read into fields).
"""
