"""The web server: requests, responses and endpoints on RSGI."""
