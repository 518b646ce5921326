"""What others are told of a build: written down as it happens, sent in the background."""
