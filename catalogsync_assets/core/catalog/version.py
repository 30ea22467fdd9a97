"""Which form of the catalog this code works with. Apart from `schema`, which takes long to load."""

#: The revision of `migrations/versions` that this code works with.
SCHEMA_VERSION = "0007"
#: Alembic's bookkeeping table; its default name could collide in a shared database.
VERSION_TABLE = "catalogsync_schema_version"
