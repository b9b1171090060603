"""The memory of a process, from Linux's ``/proc``; on other systems only the peak is known."""

import resource
import sys
from pathlib import Path

_KIB = 1024


def rss_peak_bytes() -> int:
    """Return this process's peak resident memory, mapped files included."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # On Linux, rusage counts the peak of the process that started this one; /proc does not.
    return _field("self", "VmHWM") or (peak if sys.platform == "darwin" else peak * _KIB)


def rss_anon_bytes(pid: int) -> int:
    """Return the resident anonymous memory of a process; 0 where it is not known, or the process has ended."""
    return _field(str(pid), "RssAnon")


def _field(pid: str, name: str) -> int:
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    for line in text.splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * _KIB
    return 0
