"""Console: an HTTP server of decisions and status, for people and their tools."""
