"""What projects and accounts keep: whose builds may have which secret."""
