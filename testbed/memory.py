"""How much memory a process takes, as Linux tells it; elsewhere only the peak is known."""

import resource
import sys
from pathlib import Path

_KIB = 1024


def rss_peak_bytes() -> int:
    """Return the most memory that this process ever had resident, mapped files included."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # A process inherits the peak of the one that started it, by Linux's rusage; the status knows better.
    return _field("self", "VmHWM") or (peak if sys.platform == "darwin" else peak * _KIB)


def rss_anon_bytes(pid: int) -> int:
    """Return the resident memory of a process that no file backs; 0 where that is not known or the process is gone."""
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
