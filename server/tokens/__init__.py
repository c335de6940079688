"""Tokens of callers over HTTP: how they look, and the file that holds their hashes."""
