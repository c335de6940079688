"""The judge role: joins shadow answers with their labels."""
