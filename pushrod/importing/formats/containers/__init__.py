"""What Woodpecker and Drone have in common."""
