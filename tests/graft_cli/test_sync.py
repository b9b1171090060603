"""push, pull, fetch, hydrate, status, log, audit, verify."""

import pytest

from graft_cli.exitcodes import ExitCode
from tests.graft_cli.conftest import LARGE_TABLE, make_database

COUNT = "SELECT count(*) FROM towns"


def count(graft, where):
    return int(graft("sql", where, COUNT, "--csv").lines[1])


def state(graft, where):
    return graft("status", where, "--json").json["state"]


@pytest.mark.parametrize("name", ["status", "log", "push", "pull", "fetch", "hydrate", "verify", "audit", "compact"])
def test_not_a_replica(graft, name, workdir):
    assert f"{workdir} is not a replica" in graft(name, code=ExitCode.FAILED).err
    assert "absent is not a replica" in graft(name, "absent", code=ExitCode.FAILED).err


def test_push_and_log(graft, replica, monkeypatch):
    graft("sql", replica, "DELETE FROM towns WHERE id = 1")
    monkeypatch.chdir(replica)
    assert graft("push", "-m", "one town\nless").out.startswith("Pushed LSN 2: ")
    assert graft("push").out == "Nothing to push, at LSN 2\n"
    heading, newest, first = graft("log").lines
    assert heading.split() == ["LSN", "time", "author", "kind", "pages", "bytes", "message"]
    assert newest.split()[0] == "2"
    assert newest.endswith("one town")
    assert first.split()[0] == "1"
    assert len(graft("log", "-n", 1).lines) == 2


def test_json_for_programs(graft, replica):
    graft("sql", replica, "DELETE FROM towns WHERE id = 1")
    pushed = graft("push", replica, "--json").json
    assert (pushed["before"], pushed["after"], pushed["inline"]) == (1, 2, True)
    entries = [graft("log", replica, "--json").lines[number] for number in (0, 1)]
    assert '"lsn": 2' in entries[0]
    assert entries[0].endswith('Z"}')
    assert graft("fetch", replica, "--json").json == {"lsn": 2, "head": 2}
    pulled = graft("pull", replica, "--json").json
    assert pulled == {"before": 2, "after": 2, "discarded_commits": 0, "forked_to": None, "merged": None}
    assert graft("hydrate", replica, "--json").json["frames"] == 0
    assert graft("audit", replica, "--json").json["missing_pages"] == 0
    assert graft("verify", replica, "--json").json["problems"] == []


def test_fetch_looks_and_pull_moves(graft, replica):
    graft("clone", "remote#towns", "there")
    graft("sql", "there", "DELETE FROM towns WHERE id = 1")
    graft("push", "there")
    assert state(graft, replica) == "up to date"
    assert "1 new commit to pull" in graft("fetch", replica).out
    assert "behind: 1 new remote commit to pull" in graft("status", replica).out
    assert count(graft, replica) == 100
    assert graft("pull", replica).out.startswith("Pulled LSN 2: towns has ")
    assert count(graft, replica) == 99
    assert graft("pull", replica).out == "The remote has nothing new: LSN 2\n"


def test_pull_keeps_local_commits_when_the_remote_has_nothing_new(graft, replica):
    graft("sql", replica, "DELETE FROM towns WHERE id = 1")
    assert "1 local commit to push" in graft("pull", replica).out
    assert "ahead: 1 local commit" in graft("status", replica).out


def test_diverged_is_exit_code_3_and_changes_nothing(graft, diverged):
    for name in ("push", "pull"):
        assert graft(name, diverged, code=ExitCode.DIVERGED).err.startswith("graft: volume towns: ")
    assert "diverged: 1 local commit" in graft("status", diverged).out
    assert count(graft, diverged) == 99


def test_diverged_and_discarded(graft, diverged):
    assert "Discarded 1 local commit" in graft("pull", diverged, "--policy", "discard").out
    assert graft("sql", diverged, "SELECT min(id) FROM towns", "--csv").lines[1] == "2"


def test_diverged_and_forked(graft, diverged):
    out = graft("pull", diverged, "--policy", "fork", "--fork-name", "mine").out
    assert "Moved 1 local commit to the new volume mine" in out
    assert graft("sql", "remote#mine", "SELECT group_concat(id) FROM towns WHERE id < 4", "--csv").lines[1] == '"1,3"'
    assert state(graft, diverged) == "up to date"


def test_hydrate_and_audit(graft, workdir):
    graft("import", make_database(workdir / "large.db", rows=5000), "here", "remote#large", "--push")
    graft("clone", "remote#large", "there")
    assert graft("audit", "there", "--json").json["missing_pages"] > 0
    assert graft("hydrate", "there").out.startswith("Fetched ")
    assert graft("hydrate", "there").out == "Every page is already cached\n"
    assert graft("audit", "there").lines[-2].endswith("0 pages (0 B)")


def test_compact(graft, workdir):
    graft("import", make_database(workdir / "large.db", rows=5000), "here", "remote#large", "--push")
    for row in (7, 2500, 4990):
        graft("sql", "here", f"UPDATE towns SET name = 'Ys' WHERE id = {row}")
        graft("push", "here")
    graft("clone", "remote#large", "there")
    before = graft("audit", "here", "--json").json
    assert before["frames"] > before["frames_needed"]
    assert graft("status", "here", "--json").json["segments"] > 1
    graft("sql", "here", "UPDATE towns SET name = 'Is' WHERE id = 7")
    assert "push them first" in graft("compact", "here", code=ExitCode.FAILED).err
    graft("push", "here")
    assert "pull first" in graft("compact", "there", code=ExitCode.FAILED).err
    assert graft("compact", "here", "-m", "tidy").out.startswith("Compacted LSN 5 to 6: ")
    assert graft("compact", "here").out == "Nothing to compact, at LSN 6\n"
    assert graft("compact", "here", "--scattered", "--json").json["pages"] == 0
    assert graft("status", "here", "--json").json["segments"] == 2, (
        "the entry frame is in the commit, the rest an object"
    )
    assert "compact" in graft("log", "here").lines[1]
    assert graft("verify", "here").out.endswith("all is well\n")
    graft("pull", "there")
    names = "SELECT group_concat(name) FROM towns WHERE id IN (7, 2500)"
    assert graft("sql", "there", names, "--csv").lines[1] == '"Is,Ys"'
    assert graft("sql", "there", names, "--csv", "--at", 4).lines[1] == '"Ys,Ys"'


def test_verify(graft, workdir, database):
    graft("import", database, "here", "remote", "--push")
    graft("sql", "here", LARGE_TABLE)
    graft("push", "here")
    assert graft("verify", "here").out.endswith("all is well\n")
    (segment,) = (path for path in (workdir / "remote" / "segments").rglob("*") if path.is_file())
    data = bytearray(segment.read_bytes())
    data[100_000] ^= 1
    segment.write_bytes(data)
    assert "1 problem" in graft("verify", "here", code=ExitCode.CORRUPT).out
    assert len(graft("verify", "here", "--json", code=ExitCode.CORRUPT).json["problems"]) == 1
    graft("clone", "remote#here", "there")
    corrupt = graft("sql", "there", "SELECT count(*) FROM large", code=ExitCode.CORRUPT)
    assert "segment" in corrupt.err
    assert "malformed" not in corrupt.err


def test_lost_history_is_exit_code_6(graft, replica, workdir):
    graft("sql", replica, "DELETE FROM towns WHERE id = 1")
    graft("push", replica)
    newest = min(path for path in (workdir / "remote" / "logs").rglob("*") if path.is_file())
    newest.unlink()
    assert "commits were deleted" in graft("fetch", replica, code=ExitCode.CORRUPT).err


def test_an_empty_volume(graft):
    graft("init", "here", "remote")
    assert graft("log", "here").lines[1:] == []
    assert "0 pages" in graft("verify", "here").out
    assert graft("status", "here", "--json").json["byte_size"] == 0
    assert graft("push", "here").out == "Nothing to push, at LSN 0\n"
