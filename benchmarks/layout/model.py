"""How long reads take over a network, from bytes and processor time; pure."""

from dataclasses import dataclass

NETWORKS = tuple((latency_ms, bits) for latency_ms in (1, 20, 100) for bits in (10e6, 1e9))
"""Latency of a request in ms, bits a second."""
SCAN_ROUND_TRIPS = 10
"""Of a scan of 100 MB that reads ahead in windows that double; more of them do not change the order of things."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one way of storing the pages costs, measured."""

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
        """Return how long one lookup takes whose way down and dictionary are here: a request for its frame."""
        frames = self.stored_bytes / self.frame_bytes
        return latency_ms / 1000 + 8 * self.frame_bytes / bits + self.decode_s / frames

    def scan_s(self, latency_ms: float, bits: float) -> float:
        """Return how long a scan of everything takes, decoding while it waits for nothing."""
        return SCAN_ROUND_TRIPS * latency_ms / 1000 + 8 * self.stored_bytes / bits + self.decode_s


@dataclass(frozen=True, slots=True)
class WayDown:
    """What it costs to fetch interior pages so many at once, measured."""

    pages_at_once: int
    strides: bool
    """Whether they are stored as differences."""
    frames: int
    first_frame_bytes: int
    all_bytes: int

    def open_s(self, latency_ms: float, bits: float) -> float:
        """Return how long the way down to a first row takes: the first frame, and another one unless it holds all."""
        frames = 1 + (self.frames > 1)
        return frames * latency_ms / 1000 + 8 * frames * self.first_frame_bytes / bits

    def requests_of_lookups(self, lookups: int) -> float:
        """Return how many requests random lookups make for their ways down, on average, after the first."""
        others = self.frames - 1
        return others * (1 - (1 - 1 / others) ** lookups) if others else 0
