"""Deletes local files of which enough copies are proven to be on backends."""
