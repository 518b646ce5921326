"""What others are told of a build: whom, and what became of it."""
