"""Tables that are made in several places at once: what is meant for one never goes into another."""

import pytest

from sqlsync.coordination.coordinator import Coordinator
from sqlsync.coordination.local_link import LocalLink
from sqlsync.documents.document import Document
from tests.graft import support as graft_support


class Tables:
    """A reducer that makes tables as it goes, so that the same schema number means different tables here and there."""

    version = 0
    digest = None

    def migrate(self, context, version):
        raise AssertionError("there is no version")

    def check(self, mutation):
        pass

    def apply(self, context):
        name, value = context.mutation.body.arguments["table"], context.mutation.body.arguments["value"]
        context.execute(f"CREATE TABLE IF NOT EXISTS {name} (value TEXT)")
        context.execute(f"INSERT INTO {name} VALUES (?)", (value,))


@pytest.mark.parametrize("coordinated", [True, False])
def test_tables_made_offline_by_several_clients_stay_apart(tmp_path, coordinated):
    store = graft_support.fresh_store()
    remote = f"{store.url}#doc"
    coordinator = Coordinator(tmp_path / "coordinator", remote, Tables(), store=store) if coordinated else None
    clients = [
        Document(tmp_path / name, remote, Tables(), link=LocalLink(coordinator) if coordinator else None, store=store)
        for name in "abc"
    ]
    for client, name in zip(clients, "abc", strict=True):
        for table in (name, name * 2):
            client.mutate("put", table=table, value=f"by {name}")
    for _ in range(3):
        for client, name in zip(clients, "abc", strict=True):
            client.sync()
            client.mutate("put", table=name, value=f"more by {name}")
            if coordinator is not None:
                coordinator.step()
    for client in clients:
        client.sync()
    if coordinator is not None:
        coordinator.step()
    for client in clients * 2:
        client.sync()
    for client in clients:
        for name in "abc":
            rows = [("by " + name,), *[("more by " + name,)] * 3]
            assert client.query(f"SELECT value FROM {name}") == rows
            assert client.query(f"SELECT value FROM {name * 2}") == rows[:1]
        assert client.query("PRAGMA integrity_check") == [("ok",)]
        client.close()
    if coordinator is not None:
        coordinator.close()
