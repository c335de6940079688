"""The interface of `client.py` over kafka-python, with a guard for each thing that this client does wrong."""
