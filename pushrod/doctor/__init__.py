"""What pushrod needs of a machine, looked at without changing anything."""
