"""Maps errors to replies: an HTTP status, a WebSocket close code, a name, and a message for the client.

what the client does next        HTTP  WebSocket  errors
correct the request              400   4400       BadMessage, NotADocument, NotAReducer, CorruptTimeline, BadMutation
send a token                     401   4401       NotPermitted
ask for permission               403   4403       AnotherReducer, NotTheOwner
upload the reducer               404   4404       NoSuchReducer
send faster                      408   4408       TooSlow
connect again                    503   4408       Stalled
send the missing mutations       409   4409       TimelineGap
start anew                       410   4410       TimelineExpired, TimelineForked, HistoryReplaced
send less, use another client    413   4413       TooLarge, NotServable
use the server's own name        421   4421       WrongHost
upgrade the application          426   4426       ReducerReplaced, ReducerTooOld
send less at once                429   1013       CoordinatorBusy, HolderOverBudget: Retry-After says when
try again later                  503   1013       ServerFull, Overloaded, OverBudget, DocumentBusy,
                                                  CoordinatorUnavailable, RemoteUnavailable: Retry-After says when
report it                        500   1011       everything else

Errors that the client can correct are sent with their own message. The message of any other error may reveal the
server's directories, store or code, so the client gets a general sentence instead, and the log gets the error.
"""

import math
import re
from dataclasses import dataclass
from typing import Final

from graft.errors import GraftError, RemoteUnavailable
from graft_server.budget import HolderOverBudget, OverBudget
from graft_server.host import NotADocument, ServerFull
from graft_server.lanes import Overloaded
from graft_server.reducers import AnotherReducer, NoSuchReducer, NotAReducer, ReducerReplaced
from graft_server.replication import HistoryReplaced
from graft_server.storage import NotServable
from graft_server.wire import BadMessage
from sqlsync import errors as sqlsync_errors

_REASON_BYTES_MAX: Final = 123
_PATH: Final = re.compile(r"(\b[a-z][a-z0-9+.-]*:/)?(?<![\w.])/[^\s'\"<>|;,]*[^\s'\"<>|;,:.)]")


class NotPermitted(Exception):
    """A token is missing or wrong."""


class TooLarge(Exception):
    """The request has more bytes than the server accepts."""


class TooSlow(Exception):
    """The client takes too long to send its request."""


class WrongHost(Exception):
    """The request names a host that this server does not answer for."""


class Stopping(Exception):
    """The document is being closed; try again soon."""


class Stalled(Exception):
    """The client may have stopped sending for good; it continues when it connects again."""


@dataclass(frozen=True, slots=True)
class ErrorReply:
    """The reply to a client for an error."""

    status: int
    close_code: int
    name: str
    """The class that `sqlsync.links.http_link` raises, from `sqlsync.errors` or from this module."""
    message: str
    expected: int | None = None
    """For a gap: the LSN that the server expects."""
    retry_after_s: int | None = None
    """How long to wait before trying again."""

    @property
    def reason(self) -> str:
        """The message, cut to the size of a close frame."""
        return self.message.encode()[:_REASON_BYTES_MAX].decode(errors="ignore")


@dataclass(frozen=True, slots=True)
class _Kind:
    """Errors with the same reply."""

    errors: tuple[type[Exception], ...]
    status: int
    close_code: int
    message: str | None = None
    """Replaces the error's own message, which is not for clients."""


_KINDS: Final = (
    _Kind(
        (BadMessage, NotADocument, NotAReducer, sqlsync_errors.CorruptTimeline, sqlsync_errors.BadMutation), 400, 4400
    ),
    _Kind((NotPermitted,), 401, 4401),
    _Kind((AnotherReducer, sqlsync_errors.NotTheOwner), 403, 4403),
    _Kind((NoSuchReducer,), 404, 4404),
    _Kind((TooSlow,), 408, 4408),
    _Kind((sqlsync_errors.TimelineGap,), 409, 4409),
    _Kind((sqlsync_errors.TimelineExpired, HistoryReplaced), 410, 4410),
    _Kind((TooLarge, NotServable), 413, 4413),
    _Kind((WrongHost,), 421, 4421),
    _Kind((ReducerReplaced, sqlsync_errors.ReducerTooOld), 426, 4426),
    _Kind((sqlsync_errors.CoordinatorBusy, HolderOverBudget), 429, 1013),
    _Kind((Stalled,), 503, 4408),
    _Kind((Stopping,), 503, 1012),
    _Kind((ServerFull, Overloaded, OverBudget), 503, 1013),
    _Kind((sqlsync_errors.DocumentBusy,), 503, 1013, "another server has the document open; try again later"),
    _Kind((sqlsync_errors.CoordinatorUnavailable,), 503, 1013, "the document is being closed; try again"),
    _Kind((RemoteUnavailable,), 503, 1013, "the server's store does not answer; try again later"),
    _Kind((GraftError,), 500, 1011, "the server has trouble with its store or disk; its log says more"),
    _Kind(
        (sqlsync_errors.MigrationFailed,), 500, 1011, "the document could not be migrated; the server's log says more"
    ),
    _Kind((sqlsync_errors.SqlSyncError,), 500, 1011, "the document cannot be used; the server's log says more"),
)
_INTERNAL: Final = _Kind((), 500, 1011, "an error in the server; its log says more")
_RETRY_STATUSES: Final = {429, 503}
_RETRY_AFTER_S: Final = 2


def error_reply(error: Exception) -> ErrorReply:
    """Return the reply for an error."""
    kind = next((kind for kind in _KINDS if isinstance(error, kind.errors)), _INTERNAL)
    name = "InternalError" if kind is _INTERNAL else type(error).__name__
    retry_after_s = None
    if kind.status in _RETRY_STATUSES:
        retry_after_s = math.ceil(getattr(error, "retry_after_s", None) or _RETRY_AFTER_S)
    message = str(error) if kind.message is None else kind.message
    return ErrorReply(kind.status, kind.close_code, name, message, getattr(error, "expected", None), retry_after_s)


def withholds_details(error: Exception) -> bool:
    """Return whether the reply withholds the error's message, so that the server must log it."""
    return next((kind for kind in _KINDS if isinstance(error, kind.errors)), _INTERNAL).message is not None


def without_paths(text: str) -> str:
    """Return a text without the paths and URLs in it."""
    return _PATH.sub("…", text)
