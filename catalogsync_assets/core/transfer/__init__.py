"""Carries uploads out: talks to stores, verifies, records."""
