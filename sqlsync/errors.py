"""The exceptions of documents, grouped by what a caller does next; messages are ready for a user to read.

SqlSyncError
├── MutationRejected       tell the user: the application's own logic, or a limit, refused the mutation
│   └── ReducerFailed      fix the reducer: it raised, trapped or ran out of fuel, memory or time
├── BadMutation            ask for something else: no such mutation, or its arguments do not fit
├── BadReducer             fix the module: it is not a reducer, or requires more than reducers get
├── ReducerTooOld          upgrade the application: the document was migrated further; pending work is retained
├── MigrationFailed        fix the reducer: a migration step failed, and the document is unchanged
├── DocumentBusy           retry soon: another process has this document directory open
├── CoordinatorUnavailable retry later: no answer; pending mutations are retained
│   └── CoordinatorBusy    retry after `retry_after_s`: this client, or the document, has reached a limit
├── CoordinatorRefused     correct the configuration: no permission, no such document, another reducer
│   ├── NotTheOwner        present what the timeline started with: its secret, its principal's token
│   └── TimelineGap        send again from `expected`: mutations in between are missing
├── TimelineExpired        choose: the coordinator forgot this timeline; pending work is retained for a new one
│   └── TimelineForked     the same: another copy of this directory continued it
└── CorruptTimeline        report it: bytes that fail a check are never applied
"""


class SqlSyncError(Exception):
    """Base class of the errors of documents and coordinators."""


class MutationRejected(SqlSyncError):
    """The mutation was rejected and had no effect; the message is the reason."""


class ReducerFailed(MutationRejected):
    """The reducer failed, or exceeded a limit, while it applied the mutation."""


class BadMutation(SqlSyncError):
    """No such mutation, or its arguments do not fit."""


class BadReducer(SqlSyncError):
    """A WebAssembly module is not a reducer, or requires more than reducers get."""


class ReducerTooOld(SqlSyncError):
    """The document was migrated to a version that this reducer does not know."""


class MigrationFailed(SqlSyncError):
    """A migration step of the reducer failed and was rolled back."""


class DocumentBusy(SqlSyncError):
    """Another process has the document's directory open."""


class CoordinatorUnavailable(SqlSyncError):
    """The coordinator did not answer."""

    retry_after_s: float | None = None
    """The delay before a retry that the coordinator asked for, if any."""


class CoordinatorBusy(CoordinatorUnavailable):
    """The coordinator accepts no more mutations at present."""


class CoordinatorRefused(SqlSyncError):
    """The coordinator refused the request."""


class NotTheOwner(CoordinatorRefused):
    """The timeline has another owner."""


class TimelineGap(CoordinatorRefused):
    """Mutations before the sent ones are missing."""

    def __init__(self, message: str, *, expected: int) -> None:
        super().__init__(message)
        self.expected = expected
        """The LSN that the coordinator expects next."""


class TimelineExpired(SqlSyncError):
    """The timeline was unused for too long and was forgotten."""


class TimelineForked(TimelineExpired):
    """The volume has different mutations of this timeline: another copy of the directory wrote to it."""


class CorruptTimeline(SqlSyncError):
    """A stored or received mutation fails a check."""
