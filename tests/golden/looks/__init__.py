"""The one door from the golden tests to the code: what is renamed, merged or moved there changes here alone.

Each look gives plain values under names that stay, whatever classes and modules are called. The tests know
nothing else of the application; the maker of the home does, and is run once a revision.
"""
