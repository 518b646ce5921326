"""Projects, and what is theirs: secrets, credentials, logins to registries."""
