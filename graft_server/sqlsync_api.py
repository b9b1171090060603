"""The endpoints for SQLSync's clients, at the paths of SQLSync's own server.

PUT  /reducer                        ?replaces={digest}, a WebAssembly module -> {base58 of SHA-256}.wasm
GET  /new, POST /new                 -> the id of a new document
GET  /new/{name}, POST /new/{name}   -> the id for a name, always the same
PUT  /doc/{id}/reducer?reducer={digest}   move a document to another module
WS   /doc/{id}?reducer={digest}      graft_server.connection
"""

import contextlib
import logging
from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from graft_server.access import require_author, require_host, require_upload, visitor
from graft_server.connection import Connection
from graft_server.error_replies import error_reply, withholds_details
from graft_server.reducers import MODULE_BYTES_MAX
from graft_server.requests import body, digest, document, host_of, visitor_of
from graft_server.wire import BadMessage
from sqlsync.ids import unbase58

_NAME_CHARS_MAX: Final = 1024
_log = logging.getLogger(__name__)


async def upload(request: Request) -> Response:
    """Store an uploaded reducer."""
    host = host_of(request)
    require_upload(request, host.settings)
    replaces = digest(request, "replaces")
    async with body(request, MODULE_BYTES_MAX) as module:
        return PlainTextResponse(f"{await host.keep_reducer(module, replaces)}.wasm")


async def move(request: Request) -> Response:
    """Move a document to another reducer."""
    host, wanted = host_of(request), digest(request)
    require_upload(request, host.settings)
    if wanted is None:
        raise BadMessage("?reducer= is missing: the digest of the reducer that the document shall run")
    await host.move(request.path_params["document"], wanted)
    async with document(request):
        return Response(status_code=204)


async def new(request: Request) -> Response:
    """Reply with a document id."""
    host = host_of(request)
    visitor(request, host.settings)
    name = request.path_params.get("name")
    if name is not None and len(name) > _NAME_CHARS_MAX:
        raise BadMessage(f"the name has more than {_NAME_CHARS_MAX} characters")
    return PlainTextResponse(host.new_id(name))


async def connect(websocket: WebSocket) -> None:
    """Serve a client until it disconnects."""
    await websocket.accept()
    try:
        settings = host_of(websocket).settings
        require_host(websocket, settings.hosts)
        principal = visitor_of(websocket).principal
        require_author(settings, principal, has_secret=False)
        async with document(websocket) as served:
            storage = await served.storage(settings.frame_bytes_max)
            await Connection(_Socket(websocket), served, storage, unbase58(served.name), principal=principal).run()
    except WebSocketDisconnect:
        pass
    except Exception as error:  # noqa: BLE001 - any error ends only this connection
        reply = error_reply(error)
        log = _log.exception if withholds_details(error) else _log.info
        log("document %s: closed %s: %s", websocket.path_params["document"], reply.close_code, error)
        with contextlib.suppress(WebSocketDisconnect):  # the client may have closed first
            await websocket.close(reply.close_code, reply.reason)


class _Socket:
    """A `graft_server.connection.Socket`."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket

    async def receive(self) -> bytes | None:
        message = await self._websocket.receive()
        if message["type"] == "websocket.disconnect":
            return None
        data = message.get("bytes")
        if data is None:
            raise BadMessage("the message is text; SQLSync's protocol is binary")
        return bytes(data)

    async def send(self, data: bytes) -> None:
        await self._websocket.send_bytes(data)
