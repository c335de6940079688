"""Alerts as people see them and decide about them: open ones, acknowledgements, silences, and trying a target."""
