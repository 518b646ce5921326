"""An installation moved to a PostgreSQL and to a store of objects."""
