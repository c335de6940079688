"""Evaluation of any versions on a range of the examples log: `millstream models evaluate`."""
