"""What others are told of a build: statuses at forges, notifications. Pure."""
