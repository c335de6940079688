"""The intake: copies events and labels from topics of other teams."""
