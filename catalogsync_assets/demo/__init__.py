"""Everything on one machine: a local S3 store, a sample library, and the demo that joins them."""
