"""Brings files back from backends below a library root."""
