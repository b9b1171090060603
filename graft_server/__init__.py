"""A document server for SQLSync's published clients over WebSockets and for Python clients over HTTP.

Needs the extra ``server``.
"""

from graft_server.app import create_app
from graft_server.runner import serve
from graft_server.settings import ServerSettings

__all__ = ["ServerSettings", "create_app", "serve"]
