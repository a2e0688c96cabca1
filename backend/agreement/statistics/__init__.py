"""Pure statistics of agreement: arrays in, figures out."""
