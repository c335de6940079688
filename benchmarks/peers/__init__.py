"""The same work written with other projects, to compare with."""
