"""Who somebody is, and what they may do: accounts, users, tokens, logins."""
