# ruff: noqa: T201 - it prints what it found

import argparse
import sys
import tempfile
import time
from contextlib import nullcontext
from itertools import count
from pathlib import Path

from graft_sqlite_vfs.registration import pure_read_path

from .program import program_of
from .world import failing, shrunk

READ_PATHS = {"accelerated": nullcontext, "pure": pure_read_path}


def main() -> int:
    """Run seeds until the time or the count is over; print what fails, shrunk."""
    parser = argparse.ArgumentParser(prog="python -m tests.graft_sqlite_vfs.random_sql", description=main.__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--count", type=int, default=10**9, help="how many seeds at most")
    parser.add_argument("--read-path", choices=READ_PATHS, help="only this one, instead of both")
    parser.add_argument("--steps", type=int, default=120)
    options = parser.parse_args()
    end, failed, ran = time.monotonic() + options.seconds, 0, 0
    with tempfile.TemporaryDirectory(prefix="graft-sql-") as directory:
        for seed in count(options.first):
            if time.monotonic() >= end or ran == options.count:
                break
            ran += 1
            program = program_of(seed, options.steps)
            for name in [options.read_path] if options.read_path else READ_PATHS:
                with READ_PATHS[name]():
                    if (why := failing(program, Path(directory, "world"))) is None:
                        continue
                    failed += 1
                    small = shrunk(program, Path(directory, "world"))
                print(f"seed {seed}, {name}: {why}\n  {small!r}\n  " + "\n  ".join(small.steps), flush=True)
    print(f"{ran} seeds, {ran * options.steps} steps, {failed} failed")
    return int(failed > 0)


sys.exit(main())
