"""Trainings as pages and commands start them: settings, checks, data, history. No torch outside `programs/`."""
