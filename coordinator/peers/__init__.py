"""Several coordinators over one PostgreSQL and one object store: one leads, the others pass on."""
