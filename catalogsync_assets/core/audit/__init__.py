"""Compares what the catalog expects on a backend with what the store holds, and repairs it."""
