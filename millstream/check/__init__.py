"""Checks of a stream file before it runs."""
