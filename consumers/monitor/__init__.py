"""Role monitor: profiles of windows of the log, judged against a reference."""
