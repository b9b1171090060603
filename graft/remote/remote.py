"""The remote of a replica: a store, its commit log and the threads that talk to it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass

from graft.errors import BadRequest, GraftError, remote_errors
from graft.pagemap.frame_table import FrameKey
from graft.remote.warm_start import WarmStart
from graft.settings import Settings
from metastore.collected import Remaining, read_remaining
from metastore.commitlog import CommitLog, Newest
from metastore.errors import CommitMissing
from metastore.ids import LogId
from metastore.index import CommitIndex, read_chain
from metastore.lineage import Lineage
from metastore.lsn import BEFORE_FIRST, LSN
from metastore.objectlog import ObjectCommitLog
from pagestore.errors import CorruptObject, ObjectNotFound
from pagestore.objectstore import Data, ObjectStore
from pagestore.parallel import Parallel
from pagestore.runtime import SYSTEM, Runtime
from pagestore.segments.decoding import DECODING_THREADS
from pagestore.segments.delta_bases import Bases, NoBases
from pagestore.segments.fetch import Dictionaries, RecentDictionaries, fetch_frames, fetch_lone_frame
from pagestore.segments.fetch_plan import RangeRead
from pagestore.segments.format import DecodedFrame, decode_frame
from pagestore.segments.wide_reads import WideReads
from pagestore.stores.listings import lists_exactly
from pagestore.stores.metered import MeteredStore
from pagestore.stores.probe import require_conditional_writes
from pagestore.urls import open_store


@dataclass(frozen=True, slots=True)
class Proof:
    """Evidence that the remote held this very commit, or for LSN 0 this volume's name."""

    log: LogId
    lsn: LSN
    hash: bytes
    at_s: float
    """When, by the monotonic clock."""


class Remote:
    """An open store with its commit log; threads may share it."""

    def __init__(self, store: ObjectStore, settings: Settings, runtime: Runtime = SYSTEM, *, owns_store: bool) -> None:
        """Use ``store``; `close` closes it if it ``owns_store``."""
        self.store = store if isinstance(store, MeteredStore) else MeteredStore(store)
        """The store, with its requests counted."""
        self.settings = settings
        self.runtime = runtime
        self.commits: CommitLog = ObjectCommitLog(self.store)
        self.parallel = Parallel(min(settings.parallelism, store.parallelism))
        self._decoding = Parallel(DECODING_THREADS)
        self.dictionaries: Dictionaries = RecentDictionaries()
        """Dictionaries of segments; a replica caches them on disk."""
        self.bases: Bases = NoBases()
        """Base frames of deltas; a replica has them in its cache."""
        self.bases_to_build_on: Bases = NoBases()
        """The same for building deltas: verified each time."""
        self._wide_reads = WideReads()
        self._warm_start: WarmStart | None = None
        self._owns_store = owns_store
        self.lists_exactly = lists_exactly(self.store)
        """Whether a listing always shows the newest commit."""
        self.explain: Callable[[Sequence[FrameKey]], GraftError | None] | None = None
        """Called with frames that are not in the remote; returns the reason, if it is known."""
        self.proof: Proof | None = None
        """The commit that this remote was last seen to hold; None before that, and after any doubt."""

    def newest(self, lineage: Lineage) -> Newest:
        """Return a volume's newest commit in a listing, LSN 0 for none; one request.

        For a branch without pushes, that is the commit that it was forked at. Unless `lists_exactly`, the listing may
        be old.
        """
        with remote_errors(f"looking up the head of log {lineage.log}"):
            return self.commits.newest(lineage.log) or Newest(lineage.start, {})

    def head(self, lineage: Lineage) -> LSN:
        """Return a volume's newest LSN, 0 for none; one request, two if listings may be old."""
        head = self.newest(lineage).lsn
        return head if self.lists_exactly else self.above(lineage.log, head)[0]

    def above(self, log: LogId, lsn: LSN) -> tuple[LSN, int]:
        """Return the newest LSN from ``lsn`` on, and the number of requests; commits are asked for by name.

        One request if there is none above it, else twice the logarithm of how many there are.
        """
        asked = 0

        def is_there(lsn: int) -> bool:
            nonlocal asked
            asked += 1
            return self.has_commit(log, LSN(lsn))

        low, step = int(lsn), 1
        while is_there(low + step):
            low, step = low + step, step * 2
        high = low + step  # absent
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if is_there(middle) else (low, middle)
        return LSN(low), asked

    def has_commit(self, log: LogId, lsn: LSN) -> bool:
        """Return whether the log has this commit; one request for one byte of it."""
        with remote_errors(f"looking for commit {lsn} of log {log}"):
            try:
                self.commits.read(log, lsn, 0, 1)
            except CommitMissing:
                return False
            return True

    def remaining(self, log: LogId) -> Remaining:
        """Return which versions of a log garbage collection left; one request where it never ran, else two or more."""
        with remote_errors(f"looking for what was collected of log {log}"):
            return read_remaining(self.store, log)

    def chain(self, log: LogId, head: LSN, known: Sequence[CommitIndex] = ()) -> list[CommitIndex]:
        """Return the chain of a commit down to its base; what is not known is read in one parallel batch."""
        if head == BEFORE_FIRST:
            return []
        by_lsn = {index.commit.lsn: index for index in known if index.commit.log == log}
        with remote_errors(f"reading commit {head} of log {log}"):
            return read_chain(self.commits, self.parallel, log, head, known=by_lsn)

    def frames(
        self,
        keys: Sequence[FrameKey],
        page_size: int,
        dictionaries: Dictionaries | None = None,
        on_read: Callable[[RangeRead], None] | None = None,
        gap_bytes_max: int | None = None,
    ) -> Iterator[tuple[FrameKey, DecodedFrame]]:
        """Yield frames, verified; neighbours are read together, and all reads are parallel.

        A caller that trusts nothing local passes its own ``dictionaries``; the bases of deltas are then read from the
        remote too. ``on_read`` is called with each read; ``gap_bytes_max`` replaces the setting.
        """
        if self._warm_start is not None and not dictionaries:
            begun = self._warm_start.take(keys, on_read)
            yield from begun
            keys = [key for key in keys if key not in {key for key, _ in begun}]
            if not keys:
                return
        located = [key.locate() for key in keys]
        by_place = {(location.key, location.offset): key for key, location in zip(keys, located, strict=True)}
        with remote_errors(f"fetching frames ({len(keys)}) from {self.store.url}"), self._explaining(keys):
            for location, frame in fetch_frames(
                self.store,
                self.parallel,
                located,
                page_size,
                dictionaries=dictionaries or self.dictionaries,
                bases=NoBases() if dictionaries else self.bases,
                wide_reads=None if dictionaries else self._wide_reads,
                decoding=self._decoding,
                gap_bytes_max=self.settings.fetch_gap_bytes_max if gap_bytes_max is None else gap_bytes_max,
                on_read=on_read,
            ):
                yield by_place[location.key, location.offset], frame

    def frame(self, key: FrameKey, page_size: int, on_read: Callable[[RangeRead], None] | None = None) -> DecodedFrame:
        """Return one frame, as `frames` does."""
        if self._warm_start is not None and (begun := self._warm_start.take([key], on_read)):
            return begun[0][1]
        with remote_errors(f"fetching a frame from {self.store.url}"), self._explaining([key]):
            frame = fetch_lone_frame(self.store, key.locate(), page_size, self.dictionaries, on_read)
        if frame is None:
            ((_, frame),) = self.frames([key], page_size, on_read=on_read)
        return frame

    def begin(self, key: FrameKey, page_size: int, stored: Data | None = None) -> None:
        """Begin to fetch a frame, or to decode its ``stored`` bytes; the first reader of the frame waits for that."""

        def fetched() -> tuple[DecodedFrame, list[RangeRead]]:
            if stored is not None:
                with remote_errors(f"decoding what came from {self.store.url}"):
                    return decode_frame(stored, key.ref.segment, page_size), []
            reads: list[RangeRead] = []
            # Passing dictionaries, although the same ones, keeps `frames` from waiting for this very fetch.
            ((_, frame),) = self.frames([key], page_size, self.dictionaries, reads.append)
            return frame, reads

        self._warm_start = WarmStart(key, self.parallel.begin(fetched))

    @contextmanager
    def _explaining(self, keys: Sequence[FrameKey]) -> Iterator[None]:
        try:
            yield
        except (ObjectNotFound, CorruptObject) as error:
            reason = self.explain(keys) if self.explain else None
            if reason is not None:
                raise reason from error
            raise

    def close(self) -> None:
        """End the threads, and close the store if this object owns it."""
        self.parallel.close()
        self._decoding.close()
        if self._owns_store:
            self.store.close()


def open_remote(
    store_url: str,
    *,
    store: ObjectStore | None = None,
    settings: Settings | None = None,
    runtime: Runtime = SYSTEM,
    must_exist: bool = False,
) -> Remote:
    """Return the remote at an address, or one over an open store, without a request yet.

    If a directory ``must_exist``, writes do not create it.
    """
    owns_store = store is None
    if store is None:
        try:
            with remote_errors(f"opening {store_url}"):
                store = open_store(store_url, runtime=runtime, must_exist=must_exist)
        except ValueError as error:
            raise BadRequest(str(error)) from None
    return Remote(store, settings or Settings(), runtime, owns_store=owns_store)


def opened_remote(
    store_url: str,
    *,
    store: ObjectStore | None = None,
    settings: Settings | None = None,
    runtime: Runtime = SYSTEM,
) -> closing[Remote]:
    """Use a remote for a block; a store that was passed in stays open."""
    return closing(open_remote(store_url, store=store, settings=settings, runtime=runtime))


def require_safe(remote: Remote) -> None:
    """Refuse an endpoint that ignores conditional writes: it would lose commits. Raises `RemoteRefused`."""
    with remote_errors("checking the remote"):
        require_conditional_writes(remote.store)
