"""Trainer: runs the jobs that train batch models on the log."""
