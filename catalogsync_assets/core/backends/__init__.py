"""What joins a store and the catalog for every job: what a backend can do, whether two backends are
the same store, and reading a file from whichever has it."""
