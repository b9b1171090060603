"""Documents: a client's database, its timeline and its optimistic view."""
