"""Processes of a stream: wiring of the roles, the supervisor, the fork server, broker outages."""
