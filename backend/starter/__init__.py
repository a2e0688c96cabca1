"""The writing corpus of the starter model: clauses written for this project, and what is composed of them.

Pure: it reads `data/starter/` and knows neither tables nor models. What it composes goes into training
snapshots only, never into the database, so that nobody annotates it or takes it for what people like.
"""
