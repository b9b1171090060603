"""SQLSync: several people edit one database, online or offline, and converge by the application's own logic."""

from sqlsync.coordination.coordinator import Coordinator
from sqlsync.coordination.local_link import LocalLink
from sqlsync.documents.async_document import AsyncDocument
from sqlsync.documents.document import Document
from sqlsync.documents.receipts import Receipt, ReceiptState
from sqlsync.documents.timeline import Refusal
from sqlsync.envelope import Mutation, Named, Opaque
from sqlsync.errors import (
    BadMutation,
    CoordinatorBusy,
    CoordinatorRefused,
    CoordinatorUnavailable,
    CorruptTimeline,
    DocumentBusy,
    MigrationFailed,
    MutationRejected,
    NotTheOwner,
    ReducerFailed,
    ReducerTooOld,
    SqlSyncError,
    TimelineExpired,
    TimelineForked,
    TimelineGap,
)
from sqlsync.ids import TimelineId
from sqlsync.links.link import Acknowledged, CoordinatorLink
from sqlsync.links.presence import Presence, PresenceHub
from sqlsync.reducers.python_reducer import PythonReducer, migration, mutation
from sqlsync.reducers.reducer import Reducer, ReducerContext
from sqlsync.reducers.strategies import last_writer_wins, merge_by_field, reject_on_conflict

__all__ = [
    "Acknowledged",
    "AsyncDocument",
    "BadMutation",
    "Coordinator",
    "CoordinatorBusy",
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
    "NotTheOwner",
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
    "TimelineForked",
    "TimelineGap",
    "TimelineId",
    "last_writer_wins",
    "merge_by_field",
    "migration",
    "mutation",
    "reject_on_conflict",
]
