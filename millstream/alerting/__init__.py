"""Alerts as people see them, and decide about them: open ones, silences, a try of the targets."""
