"""The local disk: names, formats, digests, files that appear only when whole. Knows no catalog."""
