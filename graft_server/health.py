"""Health of the server and its documents.

GET /health             {status, documents, troubled}: for monitors; names no document
GET /doc/{id}/health    {status, applying, waiting, isolated, trouble}: for users of the document
"""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from graft_server.error_replies import without_paths
from graft_server.requests import document, host_of

_OK, _DEGRADED = "ok", "degraded"


async def server(request: Request) -> Response:
    """Reply with the number of open documents that are in trouble."""
    served = host_of(request).open_documents()
    troubled = sum(found.health().trouble is not None or not found.health().applying for found in served)
    return JSONResponse(
        {"status": _DEGRADED if troubled else _OK, "documents": len(served), "troubled": troubled},
        headers={"Cache-Control": "no-store"},
    )


async def of_document(request: Request) -> Response:
    """Reply with the health of a document's coordinator."""
    async with document(request) as served:
        health = served.health()
        is_well = health.applying and health.trouble is None
        return JSONResponse(
            {
                "status": _OK if is_well else _DEGRADED,
                "applying": health.applying,
                "waiting": health.waiting,
                "isolated": health.isolated,
                "trouble": None if health.trouble is None else without_paths(health.trouble),
            },
            headers={"Cache-Control": "no-store"},
        )
