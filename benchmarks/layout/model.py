"""How long reads take over a network, from bytes and processor time; pure."""

from dataclasses import dataclass

NETWORKS = tuple((latency_ms, bits) for latency_ms in (1, 20, 100) for bits in (10e6, 1e9))
"""Latency of a request in ms, bits a second."""
SCAN_ROUND_TRIPS = 10
"""Of a scan of 100 MB that reads ahead in windows that double; a larger table does not change the order."""


@dataclass(frozen=True, slots=True)
class Cost:
    """The measured cost of one way to store the pages."""

    name: str
    pages_per_frame: int
    stored_bytes: int
    """Of all pages, dictionary included."""
    frame_bytes: float
    """Of one frame, on average."""
    dictionary_bytes: int
    encode_s: float
    """Of all pages, on one processor."""
    decode_s: float

    def lookup_s(self, latency_ms: float, bits: float) -> float:
        """Return the duration of a lookup whose interior pages and dictionary are local: one request for its frame."""
        frames = self.stored_bytes / self.frame_bytes
        return latency_ms / 1000 + 8 * self.frame_bytes / bits + self.decode_s / frames

    def scan_s(self, latency_ms: float, bits: float) -> float:
        """Return the duration of a full scan; decoding does not overlap with waiting."""
        return SCAN_ROUND_TRIPS * latency_ms / 1000 + 8 * self.stored_bytes / bits + self.decode_s


@dataclass(frozen=True, slots=True)
class InteriorPages:
    """The measured cost of fetching interior pages in frames of one size."""

    pages_at_once: int
    strides: bool
    """Whether they are stored as deltas."""
    frames: int
    first_frame_bytes: int
    all_bytes: int

    def open_s(self, latency_ms: float, bits: float) -> float:
        """Return the time to a first row: the entry frame, and another unless it holds all interior pages."""
        frames = 1 + (self.frames > 1)
        return frames * latency_ms / 1000 + 8 * frames * self.first_frame_bytes / bits

    def requests_of_lookups(self, lookups: int) -> float:
        """Return the mean number of requests for interior pages per random lookup, after the first."""
        others = self.frames - 1
        return others * (1 - (1 - 1 / others) ** lookups) if others else 0
