"""Deletes objects that are old weight: of files that have moved, changed, or are forgotten."""
