"""SQLSync: several people edit one database, online or offline, and converge by the application's own logic."""

from sqlsync.asynchronous import AsyncDocument
from sqlsync.coordinator import Coordinator
from sqlsync.document import Document
from sqlsync.envelope import Mutation, Named, Opaque
from sqlsync.errors import (
    BadMutation,
    CoordinatorRefused,
    CoordinatorUnavailable,
    CorruptTimeline,
    DocumentBusy,
    MigrationFailed,
    MutationRejected,
    ReducerFailed,
    ReducerTooOld,
    SqlSyncError,
    TimelineExpired,
    TimelineGap,
)
from sqlsync.ids import TimelineId
from sqlsync.link import Acknowledged, CoordinatorLink
from sqlsync.local_link import LocalLink
from sqlsync.presence import Presence, PresenceHub
from sqlsync.python_reducer import PythonReducer, migration, mutation
from sqlsync.receipts import Receipt, ReceiptState
from sqlsync.reducer import Reducer, ReducerContext
from sqlsync.strategies import last_writer_wins, merge_by_field, reject_on_conflict
from sqlsync.timeline import Refusal

__all__ = [
    "Acknowledged",
    "AsyncDocument",
    "BadMutation",
    "Coordinator",
    "CoordinatorLink",
    "CoordinatorRefused",
    "CoordinatorUnavailable",
    "CorruptTimeline",
    "Document",
    "DocumentBusy",
    "LocalLink",
    "MigrationFailed",
    "Mutation",
    "MutationRejected",
    "Named",
    "Opaque",
    "Presence",
    "PresenceHub",
    "PythonReducer",
    "Receipt",
    "ReceiptState",
    "Reducer",
    "ReducerContext",
    "ReducerFailed",
    "ReducerTooOld",
    "Refusal",
    "SqlSyncError",
    "TimelineExpired",
    "TimelineGap",
    "TimelineId",
    "last_writer_wins",
    "merge_by_field",
    "migration",
    "mutation",
    "reject_on_conflict",
]
