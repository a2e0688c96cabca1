"""How far judges agree with people: references, the board, and pure statistics."""
