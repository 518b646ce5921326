"""Images from posted source files, and what runs of them."""
