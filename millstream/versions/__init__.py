"""Model versions: promote, roll back, rebuild, trace, preview."""
