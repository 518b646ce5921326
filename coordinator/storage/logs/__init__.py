"""Logs: what the database holds of them."""
