"""The catalog's claims, held against the stores, and used: verify, repair, restore, offload, adopt."""
