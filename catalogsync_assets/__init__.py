"""catalogsync: keeps a music library on S3-compatible stores and knows which song is where.

Importing this package imports nothing else: `catalogsync --help` must not pay for Dagster.
The Dagster code location is `catalogsync_assets.definitions`.
"""

__version__ = "0.1.0"
