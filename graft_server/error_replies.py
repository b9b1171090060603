"""What an error means to a client: an HTTP status, a WebSocket close code, a name, and a message that is meant for it.

what the client does next        HTTP  WebSocket  errors
mend what it sends               400   4400       BadMessage, NotADocument, NotAReducer, CorruptTimeline, BadMutation
show a token                     401   4401       NotPermitted
ask who may                      403   4403       AnotherReducer
upload the reducer               404   4404       NoSuchReducer
send again what is missing       409   4409       TimelineGap
begin anew                       410   4410       TimelineExpired, HistoryReplaced
send less, use another client    413   4413       TooLarge, NotServable
upgrade the application          426   4426       ReducerReplaced, ReducerTooOld
try again later                  503   1013       ServerFull, DocumentBusy, CoordinatorUnavailable, unreachable stores
report it                        500   1011       everything else; the message stays in the server's log
"""

from dataclasses import dataclass
from typing import Final

from graft.errors import GraftError, RemoteUnavailable
from graft_server.host import NotADocument, ServerFull
from graft_server.reducers import AnotherReducer, NoSuchReducer, NotAReducer, ReducerReplaced
from graft_server.replication import HistoryReplaced
from graft_server.storage import NotServable
from graft_server.wire import BadMessage
from sqlsync import errors as sqlsync_errors

_REASON_BYTES_MAX: Final = 123


class NotPermitted(Exception):
    """A token is missing or wrong."""


class TooLarge(Exception):
    """More bytes than the server takes."""


class Stopping(Exception):
    """The document is being closed; try again soon."""


class Stalled(Exception):
    """The client may wait for something that never comes; it goes on when it connects again."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """How to tell a client of an error."""

    status: int
    close_code: int
    name: str
    """What `sqlsync.links.http_link` raises: the name of a class of `sqlsync.errors`, or of one here."""
    message: str
    expected: int | None = None
    """Of a gap: the LSN that is wanted."""

    @property
    def reason(self) -> str:
        """The message, cut to what a close frame may hold."""
        return self.message.encode()[:_REASON_BYTES_MAX].decode(errors="ignore")


_KINDS: Final[tuple[tuple[tuple[type[Exception], ...], int, int], ...]] = (
    (
        (BadMessage, NotADocument, NotAReducer, sqlsync_errors.CorruptTimeline, sqlsync_errors.BadMutation),
        400,
        4400,
    ),
    ((NotPermitted,), 401, 4401),
    ((AnotherReducer,), 403, 4403),
    ((NoSuchReducer,), 404, 4404),
    ((sqlsync_errors.TimelineGap,), 409, 4409),
    ((sqlsync_errors.TimelineExpired, HistoryReplaced), 410, 4410),
    ((TooLarge, NotServable), 413, 4413),
    ((ReducerReplaced, sqlsync_errors.ReducerTooOld), 426, 4426),
    ((Stalled,), 503, 4408),
    ((Stopping,), 503, 1012),
    (
        (ServerFull, sqlsync_errors.DocumentBusy, sqlsync_errors.CoordinatorUnavailable, RemoteUnavailable),
        503,
        1013,
    ),
)


def refusal_of(error: Exception) -> Refusal:
    """Return how to tell of an error."""
    for kinds, status, code in _KINDS:
        if isinstance(error, kinds):
            return Refusal(status, code, type(error).__name__, str(error), getattr(error, "expected", None))
    known = isinstance(error, (GraftError, sqlsync_errors.SqlSyncError))
    message = str(error) if known else "an error in the server; its log says more"
    return Refusal(500, 1011, type(error).__name__ if known else "InternalError", message)


def is_ours(error: Exception) -> bool:
    """Tell whether an error is one for the server's log."""
    return refusal_of(error).status == 500
