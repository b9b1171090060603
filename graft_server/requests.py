"""Reads and validates parts of requests, and turns errors into replies; shared by all endpoints."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import JSONResponse, Response

from graft_server.access import Visitor, require_host, require_origin, visitor
from graft_server.document import ServedDocument
from graft_server.error_replies import TooLarge, TooSlow, error_reply, withholds_details
from graft_server.host import Host
from graft_server.reducers import parse_digest
from graft_server.wire import BadMessage
from sqlsync.ids import TimelineId

LSN_MAX = 2**63 - 1
"""The largest integer that SQLite can store."""
_INTEGER = re.compile(r"-?[0-9]{1,20}")
_ID_CHARS_MAX = 44
_log = logging.getLogger(__name__)

Endpoint = Callable[[Request], Awaitable[Response]]


def answering(endpoint: Endpoint) -> Endpoint:
    """Return an endpoint that replies to errors with JSON: ``{error, message, expected}``."""

    async def answered(request: Request) -> Response:
        try:
            require_host(request, host_of(request).settings.hosts)
            return await endpoint(request)
        except (HTTPException, ClientDisconnect):
            raise
        except Exception as error:  # noqa: BLE001 - any error ends only this request
            reply = error_reply(error)
            if withholds_details(error):
                _log.exception("%s %s", request.method, request.url.path)
            content = {"error": reply.name, "message": reply.message, "expected": reply.expected}
            headers = {} if reply.retry_after_s is None else {"Retry-After": str(reply.retry_after_s)}
            return JSONResponse(content, reply.status, headers=headers)

    return answered


def host_of(connection: HTTPConnection) -> Host:
    """Return the server's host."""
    host = connection.app.state.host
    assert isinstance(host, Host), "BUG: the app has no host"
    return host


@asynccontextmanager
async def document(connection: HTTPConnection) -> AsyncIterator[ServedDocument]:
    """Use the document that a request names, if its sender may.

    If the sender may upload reducers, the document moves to the reducer that the request names.
    """
    host, found = host_of(connection), visitor_of(connection)
    name, asked = connection.path_params["document"], digest(connection)
    if found.may_upload and asked is not None:
        await host.move(name, asked)
    async with host.document(name, asked) as served:
        yield served


def visitor_of(connection: HTTPConnection) -> Visitor:
    """Return the sender of a document's request; raises `NotPermitted` for one that may not use documents."""
    settings = host_of(connection).settings
    require_origin(connection, settings.origins)
    return visitor(connection, settings)


def digest(connection: HTTPConnection, name: str = "reducer") -> bytes | None:
    """Return the digest of the reducer in the query, None if there is none."""
    text = connection.query_params.get(name)
    if text is None:
        return None
    try:
        return parse_digest(text.removesuffix(".wasm"))
    except ValueError as error:
        raise BadMessage(str(error)) from error


def timeline(connection: HTTPConnection) -> TimelineId:
    """Return the timeline that the path names."""
    text = connection.path_params["timeline"]
    try:
        if len(text) <= _ID_CHARS_MAX:
            return TimelineId.parse(text)
    except ValueError:
        pass
    raise BadMessage(f"not a timeline id: {text[:_ID_CHARS_MAX]!r}")


def integer(connection: HTTPConnection, name: str, *, least: int, most: int = LSN_MAX) -> int | None:
    """Return an integer of the query, None if it is missing; raises `BadMessage` for one that is out of range."""
    text = connection.query_params.get(name)
    if text is None:
        return None
    if not _INTEGER.fullmatch(text):
        raise BadMessage(f"{name} must be a whole number, not {text[:24]!r}")
    if not least <= int(text) <= most:
        raise BadMessage(f"{name} is {text}; it must be between {least} and {most}")
    return int(text)


def seconds(connection: HTTPConnection, name: str, most_s: float) -> float:
    """Return a number of seconds of the query, at most ``most_s``, 0 if it is missing."""
    text = connection.query_params.get(name, "0")
    try:
        found = float(text[:24])
    except ValueError:
        found = -1.0
    if not found >= 0:
        raise BadMessage(f"{name} must be a number of seconds, not {text[:24]!r}")
    return min(found, most_s)


@asynccontextmanager
async def body(request: Request, bytes_max: int) -> AsyncIterator[bytes]:
    """Read the body for a block; its bytes count against its client's and its document's budget until the block ends.

    Raises `TooLarge` before it holds more than ``bytes_max`` bytes, `TooSlow`, and `graft_server.budget.OverBudget`.
    """
    host, sender = host_of(request), request.client.host if request.client else ""
    document_id = str(request.path_params.get("document", ""))[:_ID_CHARS_MAX]
    with host.bodies.share(f"client {sender}", f"document {document_id}") as share:
        parts = []
        try:
            async with asyncio.timeout(host.settings.body_s) as limit:
                async for part in request.stream():
                    if share.size + len(part) > bytes_max:
                        raise TooLarge(f"the body has more than {bytes_max} bytes")
                    share.add(len(part))
                    parts.append(part)
        except TimeoutError:
            if not limit.expired():
                raise
            raise TooSlow(f"the body did not arrive within {host.settings.body_s:g} s") from None
        yield b"".join(parts)
