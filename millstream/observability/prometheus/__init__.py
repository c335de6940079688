"""What a role can be scraped for: its metrics, whether it lives, and whether it is ready."""
