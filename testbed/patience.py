"""How long a test waits for what must come; a clock decides no test, it only ends those that hang."""

PATIENCE_S = 300.0
"""Far more than a busy machine takes."""
