import pytest

from sqlsync.ids import base58
from tests.server import support


@pytest.fixture
def server(tmp_path):
    with support.running(tmp_path / "server") as running:
        support.upload(running)
        yield running


@pytest.fixture
def document():
    return base58(bytes(range(1, 17)))
