"""Brings files into the library: manifests, sources, a bounded queue that outlives full disks."""
