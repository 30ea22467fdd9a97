"""The catalog, kept on the backends: snapshots of it, and what of them stays."""
