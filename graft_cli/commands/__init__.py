"""The subcommands of ``graft``, which are imported when they run."""
