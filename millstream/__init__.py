"""Millstream: an online learner on an event stream."""
