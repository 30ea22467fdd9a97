"""The history of the schema. `schema.py` says what today's code expects."""
