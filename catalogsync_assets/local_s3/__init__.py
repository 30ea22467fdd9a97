"""A real S3 server on this machine, for the demo and the tests."""
