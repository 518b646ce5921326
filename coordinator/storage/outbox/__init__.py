"""Messages to others, and whom they go to."""
