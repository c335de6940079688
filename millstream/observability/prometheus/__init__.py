"""Prometheus metrics of a role, and its liveness and readiness."""
