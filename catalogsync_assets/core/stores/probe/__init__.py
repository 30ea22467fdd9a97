"""Finds out what a store does, by test objects below a prefix of their own."""
