"""What steps leave behind for others: artifacts."""
