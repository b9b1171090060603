"""Push, pull, fetch, clone, fork, follow and time travel."""
