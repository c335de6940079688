"""The referee: decides by the stream's rule which model serves."""
