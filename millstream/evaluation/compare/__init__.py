"""Comparison of a stream's models on the same labelled events: `millstream models compare`."""
