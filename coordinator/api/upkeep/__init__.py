"""What keeps the coordinator in order, and says whether it is."""
