"""Versions: diff, merge and history of rows, beside DoltLite where it is installed."""
