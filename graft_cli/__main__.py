"""`python -m graft_cli`."""

from graft_cli.main import main

main()
