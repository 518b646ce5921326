"""Images: whose they are, what a tag means, what builds them."""
