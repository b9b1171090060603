"""A document's world for each test: clients, coordinators and the store between them."""

import pytest

from tests.graft.support import fast_directory
from tests.sqlsync.support import Stage


@pytest.fixture
def stage():
    with fast_directory() as directory:
        stage = Stage(directory)
        yield stage
        stage.close()
