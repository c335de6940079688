"""Consumers of events: the exactly-once loop and the roles that run in it."""
