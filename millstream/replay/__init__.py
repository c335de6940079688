"""Replay, backfill and dead-letter replay."""
