"""Background jobs: the queue, the worker that empties it, and what a program uses to talk back."""
