"""Uploads: files of labelled history that servers take, and the importer that imports them."""
