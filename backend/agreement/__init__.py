"""Pure statistics of how far judges agree with people: arrays in, figures out."""
