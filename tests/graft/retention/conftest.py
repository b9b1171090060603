from contextlib import closing

import pytest

from pagestore.runtime import Runtime
from pagestore.stores.memory import MemoryStore
from tests.graft.retention.support import Clock, names
from tests.graft.support import new_replica


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(clock):
    return MemoryStore(f"gc-{next(names)}", runtime=Runtime(now_s=clock))


@pytest.fixture
def replica(tmp_path, store):
    with closing(new_replica(tmp_path / "vol", store)) as replica:
        yield replica
