"""How any request is read, limited, answered and described."""
