"""GitHub, also Enterprise."""
