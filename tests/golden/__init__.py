"""What the code says and stores of one fixed home, written down byte for byte.

`home.tar.xz` is a home at revision 0013 (made once by `tests.golden.make`; the file is the truth and no test
makes it anew). Tests open a copy with today's code and compare what it shows with `expected/`; after a change
that is meant, `python -m tests.golden.update` writes those files anew, to be read as a diff. Everything goes
through `looks/`: what is renamed or moved in the code changes there and nowhere else here.
"""
