"""Random SQL on a volume beside plain SQLite: programs from a seed, a world that runs them, and shrinking.

python -m tests.graft_sqlite_vfs.random_sql --seconds 3600     # run seeds for an hour, and shrink what fails
python -m tests.graft_sqlite_vfs.random_sql --first 4711 --count 1
"""
