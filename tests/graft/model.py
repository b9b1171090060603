"""An independent, naive model: a volume is a list of versions, a version a dict of pages and a size.

It knows nothing of maps, journals, caches or commits. A truncation deletes dict entries.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Version:
    """The content of a volume; pages that are not in ``pages`` are zeros."""

    page_size: int
    byte_size: int = 0
    pages: dict[int, bytes] = field(default_factory=dict)

    @property
    def page_count(self):
        return -(-self.byte_size // self.page_size)

    def page(self, number):
        return self.pages.get(number, bytes(self.page_size))

    def written(self, number, data):
        return Version(
            self.page_size, max(self.byte_size, number * self.page_size), {**self.pages, number: bytes(data)}
        )

    def resized(self, byte_size):
        count = -(-byte_size // self.page_size)
        return Version(
            self.page_size, byte_size, {number: data for number, data in self.pages.items() if number <= count}
        )


@dataclass
class Remote:
    """The log: its versions by LSN; LSN 0 is the empty volume."""

    versions: list[Version]

    @property
    def head(self):
        return len(self.versions) - 1


@dataclass
class Local:
    """One replica directory."""

    lsn: int = 0
    commits: list[Version] = field(default_factory=list)
    """The content after each local commit that the remote lacks."""

    def content(self, remote):
        return self.commits[-1] if self.commits else remote.versions[self.lsn]

    def push(self, remote):
        """Return whether this is possible, and do it then."""
        if not self.commits:
            return True
        if remote.head != self.lsn:
            return False
        remote.versions.append(self.commits[-1])
        self.lsn, self.commits = remote.head, []
        return True

    def compact(self, remote):
        """Append the same content once more; return whether that is possible."""
        if self.commits or remote.head != self.lsn:
            return False
        remote.versions.append(remote.versions[self.lsn])
        self.lsn = remote.head
        return True

    def pull(self, remote, policy):
        """Return whether this is possible, and do it then."""
        if self.commits and policy == "abort":
            return remote.head == self.lsn
        self.lsn, self.commits = remote.head, []
        return True
