"""One client for every OpenAI-compatible endpoint: limits, retries, ledger, budget, tolerant reading.

Start reading at `OpenAIClient.complete` (one call), then `ask_for_fields` (one call whose reply is read into fields).
"""
