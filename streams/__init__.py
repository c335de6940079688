"""Ready-made streams, one file each."""
