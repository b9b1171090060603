"""Log sequence numbers, and the Fenwick ranges that roll-ups cover.

The roll-up of commit ``n`` covers ``(n − lowbit(n), n]``: that of 12 covers 9…12, that of 8 covers 1…8. The commits
``n, n − lowbit(n), …`` down to 0, at most log2(n) + 1 of them, together cover ``(0, n]``.

Source: P. Fenwick, "A new data structure for cumulative frequency tables", Software: Practice and Experience 24(3),
1994.
"""

import re
from typing import NewType

LSN = NewType("LSN", int)
"""A position in a log: 1, 2, 3 … without gaps; 0 is the position before the first commit."""

BEFORE_FIRST = LSN(0)
LSN_MAX = LSN(2**63 - 1)

_DESCENDING = re.compile(r"[0-9a-f]{16}")


def covers_after(lsn: LSN) -> LSN:
    """Return the LSN after which the roll-up of ``lsn`` starts: ``lsn − lowbit(lsn)``."""
    return LSN(lsn & (lsn - 1))


def chain(lsn: LSN, after: LSN = BEFORE_FIRST) -> list[LSN]:
    """Return the commits whose roll-ups cover ``(after, lsn]``, newest first; the last one may cover more.

    >>> chain(LSN(13), LSN(3))
    [13, 12, 8]
    """
    lsns = []
    while lsn > after:
        lsns.append(lsn)
        lsn = covers_after(lsn)
    return lsns


def descending_text(lsn: LSN) -> str:
    """Return 16 hex digits that sort newest first, so the first key of a listing is the log's head."""
    return f"{2**64 - 1 - lsn:016x}"


def parse_descending(text: str) -> LSN:
    """Invert `descending_text`; raises `ValueError`."""
    if not _DESCENDING.fullmatch(text):
        raise ValueError(f"not an LSN key: {text!r}")
    lsn = 2**64 - 1 - int(text, 16)
    if not 0 < lsn <= LSN_MAX:
        raise ValueError(f"not an LSN key: {text!r}")
    return LSN(lsn)
