"""A sample library, and the demo that uploads it to a local S3 server."""
