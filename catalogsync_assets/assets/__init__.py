"""The software-defined assets: what exists because of this project, and how it comes to be.

Each function reads its context, calls the core, and reports with metadata. The catalog is the
source of truth; Dagster's history says how it got there.
"""
