"""Jobs of a stream as people see them: reading, asking, cancelling."""
