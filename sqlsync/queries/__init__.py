"""Live queries: what a query read and how its result changed."""
