"""The catalog's claims, held against the stores, and used.

Verify, repair, restore, offload, adopt.
"""
