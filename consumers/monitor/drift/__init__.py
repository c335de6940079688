"""Judging of drift: windows of the profiles topic against those of the reference."""
