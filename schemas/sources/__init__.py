"""Topics of other teams: decoding, paths and expressions, and the mapping to events and labels."""
