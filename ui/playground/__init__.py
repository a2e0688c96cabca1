"""The write page and its routes."""
