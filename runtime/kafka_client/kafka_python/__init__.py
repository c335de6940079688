"""Implementation of `client.py` with kafka-python, with a guard for each known fault of this client."""
