"""What a demonstration and the tests need besides catalogsync: a store and a music library."""
