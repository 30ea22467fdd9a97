"""Finds the files of the library, reads their tags, keeps their rows true to the disk."""
