"""How much of the history a push looks at: none of it that it has looked at before."""

from graft.sync.push import push
from metastore.index import CommitIndex
from tests.graft.support import as_other_process, commit, fast_directory, fresh_store, leave, new_replica


def test_a_push_decodes_no_commit_that_is_known(monkeypatch):
    decoded = []
    decode = CommitIndex.decode
    monkeypatch.setattr(CommitIndex, "decode", lambda data, log, lsn: decoded.append(lsn) or decode(data, log, lsn))
    with fast_directory() as path:
        store = fresh_store()
        replica = new_replica(path / "a", store)
        for number in range(1, 24):
            commit(replica, [number], number)
            push(replica)
        del decoded[:]
        commit(replica, [1], "once more")
        push(replica)
        assert set(decoded) <= {24}
        other = as_other_process(path / "a", store)
        assert other.view().state.lsn == 24
        commit(other, [2], "from the other process")
        push(other)
        del decoded[:]
        assert replica.view().state.lsn == 25
        assert decoded == [25], "what another process pushed is read, and nothing else"
        leave(other)
        leave(replica)
