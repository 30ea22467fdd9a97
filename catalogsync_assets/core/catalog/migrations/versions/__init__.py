"""One module a revision, named NNNN_what.py; never edited once released."""
