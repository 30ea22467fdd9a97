"""How fast it is, and what it costs, beside other programs on the same files: `make bench`.

Belongs here: the measurements, and what they are made of. Does not: tests (nothing here is asserted
but that it still runs, by the suite).
"""
