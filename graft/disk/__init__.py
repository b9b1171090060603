"""Files, locks and shared counters of a replica directory."""
