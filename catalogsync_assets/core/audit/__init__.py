"""The catalog held against the stores, and used: verify, repair, restore, offload, adopt."""
