"""A moto server in its own process: ``python -m testbed.moto_main PORT``.

moto checks a condition and writes in two steps, so that threads can race between them; a lock around the
whole application makes each request atomic, as on S3.
"""

import sys
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple

from testbed.shared_server import HOST

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_application = DomainDispatcherApplication(create_backend_app)
_one_request = threading.Lock()


def _atomic(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
    with _one_request:
        return list(_application(environ, start_response))


if __name__ == "__main__":
    run_simple(HOST, int(sys.argv[1]), _atomic, threaded=True)
