"""Performance of what was served, from the windows of the profiles topic: `millstream performance`."""
