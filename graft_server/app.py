"""The ASGI app: its routes, and the opening and closing of its host."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute

from graft_server import health, link_api, sqlsync_api
from graft_server.host import Host
from graft_server.reducers import LoadReducer
from graft_server.requests import answering
from graft_server.settings import ServerSettings
from pagestore.objectstore import ObjectStore
from pagestore.runtime import SYSTEM, Runtime
from sqlsync.links.http_link import SECRET_HEADER
from sqlsync.reducers.reducer import Reducer


def create_app(
    settings: ServerSettings,
    store: ObjectStore,
    load_reducer: LoadReducer,
    *,
    reducer: Reducer | None = None,
    runtime: Runtime = SYSTEM,
) -> Starlette:
    """Return the app that serves the documents in ``store``, which stays open; see `graft_server.host.Host`."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        app.state.host = host = Host(settings, store, load_reducer, reducer=reducer, runtime=runtime)
        try:
            yield
        finally:
            await host.close()

    return Starlette(
        routes=[
            Route("/", answering(_hello)),
            Route("/health", answering(health.server), methods=["GET"]),
            Route("/reducer", answering(sqlsync_api.upload), methods=["PUT"]),
            Route("/doc/{document}/reducer", answering(sqlsync_api.move), methods=["PUT"]),
            Route("/new", answering(sqlsync_api.new), methods=["GET", "POST"]),
            Route("/new/{name:path}", answering(sqlsync_api.new), methods=["GET", "POST"]),
            WebSocketRoute("/doc/{document}", sqlsync_api.connect),
            Route("/doc/{document}/health", answering(health.of_document), methods=["GET"]),
            Route("/doc/{document}/timelines/{timeline}", answering(link_api.submit), methods=["POST"]),
            Route("/doc/{document}/timelines/{timeline}", answering(link_api.wait), methods=["GET"]),
            Route("/doc/{document}/presence", answering(link_api.presence), methods=["GET"]),
            Route("/doc/{document}/presence/{client:path}", answering(link_api.set_presence), methods=["PUT"]),
            Route("/doc/{document}/presence/{client:path}", answering(link_api.leave), methods=["DELETE"]),
        ],
        middleware=[
            Middleware(
                CORSMiddleware,
                allow_origins=list(settings.origins),
                allow_methods=["GET", "POST", "PUT", "DELETE"],
                allow_headers=["Authorization", "Content-Type", SECRET_HEADER],
                expose_headers=["Retry-After"],
            )
        ],
        lifespan=lifespan,
    )


async def _hello(_request: Request) -> Response:
    return PlainTextResponse("graft\n")
