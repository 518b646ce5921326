"""What retention reads and deletes, and what uses how much."""
