"""A moto server in its own process: ``python -m tests.servers.moto_main PORT``.

moto checks a condition and writes in two steps, so that threads can race between them; a lock around the
whole application makes each request atomic, as on S3.
"""

import sys
import threading

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple

from benchmarks.servers.process import HOST

_application = DomainDispatcherApplication(create_backend_app)
_one_request = threading.Lock()


def _atomic(environ, start_response):
    with _one_request:
        return list(_application(environ, start_response))


if __name__ == "__main__":
    run_simple(HOST, int(sys.argv[1]), _atomic, threaded=True)
