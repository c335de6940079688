"""Command line: one file for each group of commands. The other packages do the work."""
