"""How the assets look in the web UI: tables, plots, links, progress, and the metadata of a cell.

Nothing here decides what an asset does; only the assets and their checks import it.
"""
