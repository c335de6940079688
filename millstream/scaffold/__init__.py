"""Scaffold of a stream file: inference from files and topics for `millstream init`."""
