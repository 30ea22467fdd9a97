"""What is on disk: walks, reads tags, records, checks, and removes files of the library."""
