"""Reducers and the sandbox in which they run."""
