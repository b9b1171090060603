"""Local commits that the remote does not have yet."""
