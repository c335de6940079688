"""Monitoring of a stream: the wiring of the role, and reading what it found."""
