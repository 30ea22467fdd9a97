"""One S3 service: its settings, its client, its errors, and what an answer of it proves.

Knows no catalog. `verify` answers whether an object holds a content; `probe` finds out what a
store does.
"""
