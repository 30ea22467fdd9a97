"""Takes over a bucket that another tool has filled."""
