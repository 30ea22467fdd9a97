"""The catalog for other programs: playlists and tables with the addresses of files."""
