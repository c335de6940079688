"""The command line: each topic's commands in a file of its own. What they do lives in the other packages."""
