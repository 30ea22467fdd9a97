"""New files of the library: how they come whole, under a safe name, over no other file."""
