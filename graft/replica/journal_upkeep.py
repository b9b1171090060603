"""Deletes journal files that were pushed, and records in the state how far the journal is on the disk.

The recorded end tells damage from what a crash may leave: commits up to it can never be torn. Nothing else depends on
this work, so failures are ignored: a file is deleted later, and fewer commits are known to be on the disk.
"""

import contextlib

from graft.disk.home import Home
from graft.errors import GraftError, LocalStorageError, WriterBusy
from graft.journal.journal import Journal
from graft.replica.state import State
from graft.replica.view import View


def note_journal_end(state: State, local_lsn: int) -> None:
    """Record that all commits up to this one are on the disk."""
    with contextlib.suppress(LocalStorageError, WriterBusy):
        state.note_journal_end(local_lsn)


class JournalUpkeep:
    """The journal of one replica; safe for threads as far as the journal is."""

    def __init__(self, journal: Journal, state: State, home: Home) -> None:
        """Maintain the files of ``journal`` as long as ``home`` is the directory at its path."""
        self._journal = journal
        self._state = state
        self._home = home

    def delete_through(self, local_lsn: int, *, spare_last: bool) -> None:
        """Delete files with commits up to this one only; ``spare_last`` as in `Journal.delete_through`."""
        if not self._home.is_unmoved():  # another replica may be at the path now
            return
        with contextlib.suppress(LocalStorageError, WriterBusy):
            self._journal.delete_through(local_lsn, spare_last=spare_last, sync=self._state.sync)

    def sync_and_note_end(self, view: View) -> None:
        """Sync the commits of a view that are not pushed, and record that."""
        local_lsn = view.snapshot.local_lsn
        if not view.pending or not self._home.is_unmoved():
            return
        with contextlib.suppress(GraftError):
            if local_lsn > self._state.read().journal_end:
                self._journal.sync_through(local_lsn)
                self._state.note_journal_end(local_lsn)
