"""Two replicas of one volume that both write."""

from collections.abc import Iterator

import apsw
import pytest

from graft.replica.opening import open_replica
from graft.replica.replica import Replica
from graft.sync.pull import PullResult, pull
from graft.sync.push import push


class Pair:
    """Ours and theirs: what theirs pushed is in the remote, and what ours wrote is to be merged into it."""

    def __init__(self, volumes, ours: Replica, theirs: Replica) -> None:
        self.volumes = volumes
        self.replica, self.other = ours, theirs
        self.ours: apsw.Connection = volumes.connect("ours", remote="#app")
        self.theirs: apsw.Connection = volumes.connect("theirs", remote="#app")

    def start(self, sql: str) -> None:
        """Make what both start from."""
        self.ours.execute(sql)
        push(self.replica)
        pull(self.other)

    def part(self, ours: str, theirs: str) -> None:
        """Let both sides write; theirs pushes first."""
        self.ours.execute(ours)
        self.theirs.execute(theirs)
        push(self.other)

    def merge(self, conflicts: object = "fail") -> PullResult:
        return pull(self.replica, policy="merge", conflicts=conflicts)

    def rows(self, query: str) -> list[tuple]:
        """Return what both sides have once the merge is pushed."""
        push(self.replica)
        pull(self.other)
        found = self.ours.execute(query).fetchall()
        assert self.theirs.execute(query).fetchall() == found
        return found


@pytest.fixture
def pair(volumes) -> Iterator[Pair]:
    volumes.connect("ours", remote="#app").execute("SELECT 1")
    volumes.connect("theirs", remote="#app").execute("SELECT 1")
    with open_replica(volumes.directory / "ours") as ours, open_replica(volumes.directory / "theirs") as theirs:
        yield Pair(volumes, ours, theirs)
