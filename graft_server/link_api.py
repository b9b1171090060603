"""The HTTP endpoints for `sqlsync.links.http_link.HttpLink`.

    POST   /doc/{id}/timelines/{timeline}   ?seen=&born_us=&first=&link=, a batch of mutations -> answer
    GET    /doc/{id}/timelines/{timeline}   ?lsn=&timeout_s= -> answer, once the volume has that mutation
    GET    /doc/{id}/presence               ?version=&timeout_s= -> {version, states}, once it is another version
    PUT    /doc/{id}/presence/{client}      {state, ttl_s}
    DELETE /doc/{id}/presence/{client}
    answer: {next_lsn, applied, volume_lsn}

The author of a timeline sends its secret in the header Graft-Timeline-Secret, and its link before mutation ``first``.
Each request may name its reducer: ?reducer={base58 of SHA-256}.
"""

from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from graft_server.access import require_author
from graft_server.error_replies import TooLarge
from graft_server.host import LIMITS
from graft_server.requests import body, document, host_of, integer, seconds, timeline, visitor_of
from graft_server.wire import BadMessage
from sqlsync.envelope import NOW_US_MAX, NOW_US_MIN
from sqlsync.identity import LINK_BYTES, SECRET_BYTES, Proof
from sqlsync.links.http_link import SECRET_HEADER
from sqlsync.links.link import Acknowledged
from sqlsync.links.mutation_batch import read_batch
from sqlsync.links.presence import TTL_S
from sqlsync.plain_json import read_object

_TIMEOUT_S_MAX: Final = 60.0
_PRESENCE_BYTES_MAX: Final = 64 * 1024
_CLIENT_CHARS_MAX: Final = 128


class _Presence(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    state: dict[str, Any]
    ttl_s: float = Field(default=TTL_S, gt=0, le=3600)


async def submit(request: Request) -> Response:
    """Accept a batch of mutations."""
    author, seen = timeline(request), integer(request, "seen", least=-1)
    born_us = integer(request, "born_us", least=NOW_US_MIN, most=NOW_US_MAX)
    shown, settings = _proof(request), host_of(request).settings
    principal = visitor_of(request).principal
    require_author(settings, principal, has_secret=shown is not None and shown.secret is not None)
    async with body(request, settings.message_bytes_max) as data, document(request) as served:
        mutations = read_batch(data)
        if len(mutations) > LIMITS.timeline_mutations:
            raise TooLarge(f"{len(mutations)} mutations in one request; the limit is {LIMITS.timeline_mutations}")
        answer = await served.submit(
            author, mutations, rejections_seen=seen, born_us=born_us, proof=shown, principal=principal
        )
        return _reply(answer)


def _proof(request: Request) -> Proof | None:
    secret = _hexadecimal(request.headers.get(SECRET_HEADER), SECRET_BYTES, SECRET_HEADER)
    link = _hexadecimal(request.query_params.get("link"), LINK_BYTES, "link")
    first = integer(request, "first", least=0)
    if (link is None) != (first is None):
        raise BadMessage("link and first must be given together: the link before mutation `first`")
    return None if secret is None and link is None else Proof(secret, first or 0, link)


def _hexadecimal(text: str | None, size: int, what: str) -> bytes | None:
    if text is None:
        return None
    try:
        found = bytes.fromhex(text) if len(text) == 2 * size else b""
    except ValueError:
        found = b""
    if len(found) != size:
        raise BadMessage(f"{what} must have {2 * size} hexadecimal digits")
    return found


async def wait(request: Request) -> Response:
    """Reply once the volume has a mutation."""
    author, lsn, timeout_s = (
        timeline(request),
        integer(request, "lsn", least=-1),
        seconds(request, "timeout_s", _TIMEOUT_S_MAX),
    )
    async with document(request) as served:
        return _reply(await (served.position(author) if lsn is None else served.wait(author, lsn, timeout_s)))


async def presence(request: Request) -> Response:
    """Reply with the presence of all clients."""
    version, timeout_s = integer(request, "version", least=-1), seconds(request, "timeout_s", _TIMEOUT_S_MAX)
    async with document(request) as served:
        found, states = await served.presence_after(-1 if version is None else version, timeout_s)
        return JSONResponse({"version": found, "states": dict(states)})


async def set_presence(request: Request) -> Response:
    """Set a client's presence."""
    visitor_of(request)
    try:
        async with body(request, _PRESENCE_BYTES_MAX) as data:
            given = _Presence.model_validate(read_object(data))
    except ValidationError as error:
        raise BadMessage(f"not a valid presence: {error.errors()[0]['msg']}") from error
    except ValueError as error:
        raise BadMessage(f"not a valid presence: {error}") from error
    principal = visitor_of(request).principal
    async with document(request) as served:
        served.set_presence(_client(request), given.state, given.ttl_s, principal)
    return Response(status_code=204)


async def leave(request: Request) -> Response:
    """Remove a client's presence."""
    principal = visitor_of(request).principal
    async with document(request) as served:
        served.coordinator.presence.leave(_client(request), owner=principal)
    return Response(status_code=204)


def _client(request: Request) -> str:
    client = str(request.path_params["client"])
    if not 0 < len(client) <= _CLIENT_CHARS_MAX:
        raise BadMessage(f"a client's name must have 1 to {_CLIENT_CHARS_MAX} characters")
    return client


def _reply(answer: Acknowledged) -> Response:
    return JSONResponse({"next_lsn": answer.next_lsn, "applied": answer.applied, "volume_lsn": answer.volume_lsn})
