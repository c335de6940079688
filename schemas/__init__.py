"""Schemas of the data: events, their Avro schemas and encoding, topic names, and the feature contract."""
