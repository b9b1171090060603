"""Verifies that journal files still hold the local commits that were read from them."""

from collections.abc import Iterable, Sequence

from graft.errors import Corrupt, Unsupported
from graft.journal.format import decode_header, is_whole, page_list
from graft.journal.local_commit import LocalCommit
from graft.journal.mapped_files import JournalFile
from graft.pagemap.locations import JOURNAL_TAG, OFFSET_BITS


def require_whole(files: Sequence[JournalFile], commits: Iterable[LocalCommit]) -> None:
    """Raise `Corrupt` unless the records of these commits are as they were written.

    A caller that gives the bodies new checksums must call this first: otherwise the new checksums would cover rotted
    bytes.
    """
    by_number = {file.number: file for file in files}
    for commit in commits:
        file = by_number.get((commit.first_location & ~JOURNAL_TAG) >> OFFSET_BITS)
        assert file is not None, f"BUG: the file of local commit {commit.local_lsn} is not mapped"
        if not _is_whole(file, commit):
            raise Corrupt(
                f"{file.path}: local commit {commit.local_lsn} was damaged after it was written: its checksum does not "
                "match. None of it was sent, and nothing was dropped. Restore the file from a backup, or give up the "
                "local commits with `graft pull --policy discard`"
            )


def _is_whole(file: JournalFile, commit: LocalCommit) -> bool:
    start = file.start_of(commit)
    try:
        header = decode_header(file.view, start)
    except Unsupported:  # the record that was written here had this version
        return False
    if header is None or start + header.record_bytes > len(file.view) or not is_whole(file.view, header, start):
        return False
    said = header.local_lsn, header.page_size, header.byte_size, header.min_page_count
    known = commit.local_lsn, commit.page_size, commit.byte_size, commit.min_page_count
    return said == known and page_list(file.view, header, start) == commit.slots
