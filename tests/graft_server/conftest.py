import pytest

from sqlsync.ids import base58
from tests.graft import support as graft_support
from tests.graft_server import support


@pytest.fixture
def tmp_path():
    """A directory where syncing costs nothing."""
    with graft_support.fast_directory() as directory:
        yield directory


@pytest.fixture
def server(tmp_path):
    with support.running(tmp_path / "server") as running:
        support.upload(running)
        yield running


@pytest.fixture
def document():
    return base58(bytes(range(1, 17)))
