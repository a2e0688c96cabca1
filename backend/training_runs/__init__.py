"""Trainings as pages and commands start them: settings, checks, data, queue, history. No torch here."""
