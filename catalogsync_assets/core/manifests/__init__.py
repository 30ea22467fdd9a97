"""Lists of files as programs write them - tables, playlists, cue sheets - read, and no more."""
