"""Decides, changes nothing: where a file's object goes, which files make a batch."""
