"""The exceptions of documents, grouped by what a caller does next; messages are ready for a user to read.

SqlSyncError
├── MutationRejected       tell the user: the application's own logic, or a limit, refused the mutation
│   └── ReducerFailed      mend the reducer: it raised, trapped or ran out of fuel, memory or time
├── BadMutation            ask for something else: no such mutation, or its arguments do not fit
├── BadReducer             mend the module: it is no reducer, or it wants more than reducers get
├── ReducerTooOld          upgrade the application: the document was migrated further; pending work is kept
├── MigrationFailed        mend the reducer: a migration step failed, and left the document as it was
├── DocumentBusy           retry soon: another process has this document directory open
├── CoordinatorUnavailable retry later: no answer; pending mutations are kept
│   └── CoordinatorBusy    retry after `retry_after_s`: it has as much of this client, or of this document, as it takes
├── CoordinatorRefused     mend the set-up: no permission, no such document, another reducer
│   ├── NotTheOwner        show what the timeline began with: its secret, the token of its principal
│   └── TimelineGap        send again from `expected`: mutations in between are missing
├── TimelineExpired        choose: the coordinator forgot this timeline; pending work is kept for a new one
│   └── TimelineForked     the same: another copy of this directory went on with it
└── CorruptTimeline        report it: bytes that fail a check are never applied
"""


class SqlSyncError(Exception):
    """Anything that a document or coordinator could not do."""


class MutationRejected(SqlSyncError):
    """The mutation was refused, and none of its effects stayed; the message is the reason."""


class ReducerFailed(MutationRejected):
    """The reducer broke, or went over a limit, while it applied the mutation."""


class BadMutation(SqlSyncError):
    """No such mutation, or its arguments do not fit."""


class BadReducer(SqlSyncError):
    """A WebAssembly module is no reducer, or wants more than reducers get."""


class ReducerTooOld(SqlSyncError):
    """The document was migrated to a version that this reducer does not know."""


class MigrationFailed(SqlSyncError):
    """A migration step of the reducer failed; nothing of it stayed."""


class DocumentBusy(SqlSyncError):
    """Another process has the document's directory open."""


class CoordinatorUnavailable(SqlSyncError):
    """The coordinator did not answer."""

    retry_after_s: float | None = None
    """When it said that trying again is worth while."""


class CoordinatorBusy(CoordinatorUnavailable):
    """The coordinator takes no more for now."""


class CoordinatorRefused(SqlSyncError):
    """The coordinator answered no."""


class NotTheOwner(CoordinatorRefused):
    """The timeline belongs to somebody else."""


class TimelineGap(CoordinatorRefused):
    """Mutations before the ones that were sent are missing."""

    def __init__(self, message: str, *, expected: int) -> None:
        super().__init__(message)
        self.expected = expected
        """The LSN that the coordinator wants next."""


class TimelineExpired(SqlSyncError):
    """The timeline was not used for so long that it was forgotten."""


class TimelineForked(TimelineExpired):
    """The timeline has other mutations in the volume than here: another copy of the directory wrote to it."""


class CorruptTimeline(SqlSyncError):
    """A stored or received mutation fails a check."""
