"""Results of tests, coverage and summaries: what tools report in files, and what it means."""
