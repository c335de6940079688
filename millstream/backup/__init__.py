"""Backup of topics and versions to files, and their restore."""
