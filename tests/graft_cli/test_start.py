"""init, clone, import, export, fork, volumes, doctor: volumes and replicas come to be."""

import apsw
import pytest

from graft.replica.opening import open_replica
from graft_cli.exitcodes import ExitCode
from pagestore.stores.local_dir import LocalDirStore
from tests.graft_cli.conftest import make_database, rows_of


def test_init_makes_a_volume_that_others_can_clone(graft, workdir):
    assert graft("init", "notes", "remote").lines == [
        f"Created {workdir}/remote#notes in {workdir}/notes",
        "empty; 4,096 bytes a page",
    ]
    assert graft("volumes", "remote").lines == ["notes"]
    assert graft("clone", "remote#notes", "copy", "--json").json["lsn"] == 0


def test_init_with_another_name_and_page_size(graft):
    made = graft("init", "here", "remote#other", "--page-size", 512, "--json").json
    assert (made["name"], made["page_size"]) == ("other", 512)
    assert graft("sql", "here", "PRAGMA page_size", "--csv").lines[1] == "512"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["init", "here", "remote"], "is a replica already"),
        (["init", "new", "remote#towns"], "a volume named towns exists already"),
        (["init", "full", "remote"], "is not an empty directory"),
        (["init", "new", "remote#a/b"], "not a volume name"),
        (["init", "new", "remote", "--page-size", "1000"], "1000"),
        (["init", "new", "ftp://host/x"], "has a scheme that is not supported"),
        (["clone", "remote#absent"], "no volume named absent"),
        (["clone", "remote#towns", "here"], "is a replica already"),
    ],
)
def test_what_cannot_be_made(graft, replica, workdir, args, message):
    (workdir / "full").mkdir()
    (workdir / "full" / "file").touch()
    assert message in graft(*args, code=ExitCode.FAILED).err
    assert not (workdir / "new").exists()
    assert not (workdir / "absent").exists()


def test_clone_goes_to_a_directory_of_the_volumes_name(graft, replica):
    graft("clone", "remote#towns")
    assert graft("sql", "towns", "SELECT count(*) FROM towns", "--csv").lines[1] == "100"


def test_import_makes_the_volume_with_the_files_page_size(graft, workdir):
    make_database(workdir / "small.db", page_size=512)
    made = graft("import", "small.db", "small", "remote", "--json").json
    assert made["created"] is True
    assert made["pushed"] is None
    assert graft("status", "small", "--json").json["page_size"] == 512


def test_import_says_that_a_push_is_to_follow(graft, database):
    assert graft("import", database, "here", "remote").lines[-1].endswith("graft push here")
    assert graft("status", "here", "--json").json["state"] == "ahead"


def test_import_and_push_with_a_message(graft, replica, workdir):
    make_database(workdir / "new.db", rows=7)
    done = graft("import", "new.db", replica, "--replace", "--push", "-m", "fewer towns", "--json").json
    assert done["created"] is False
    assert done["pushed"]["after"] == 2
    assert graft("log", replica, "-n", 1).lines[1].endswith("fewer towns")
    graft("clone", "remote#towns", "there")
    assert graft("sql", "there", "SELECT count(*) FROM towns", "--csv").lines[1] == "7"


def test_import_refuses_what_does_not_fit(graft, replica, database, workdir):
    (workdir / "text").write_text("not a database " * 100)
    make_database(workdir / "small.db", page_size=512)
    assert "not an SQLite database" in graft("import", "text", replica, code=ExitCode.FAILED).err
    assert "512" in graft("import", "small.db", replica, code=ExitCode.FAILED).err
    assert "is a replica of" in graft("import", database, replica, "elsewhere", code=ExitCode.FAILED).err
    assert "give the REMOTE" in graft("import", database, "new", code=ExitCode.USAGE).err
    assert "--message needs --push" in graft("import", database, replica, "-m", "x", code=ExitCode.USAGE).err
    assert graft("status", replica, "--json").json["local_commits"] == 0


def test_import_while_somebody_writes_is_busy(graft, replica, database):
    with open_replica(replica) as held, held.begin(held.snapshot()):
        assert "writing" in graft("import", "--replace", database, replica, code=ExitCode.BUSY).err


def test_any_file_goes_in_and_out_raw(graft, workdir):
    content = bytes(range(256)) * 100 + b"end"
    (workdir / "film").write_bytes(content)
    graft("import", "--raw", "film", "vol", "remote", "--push")
    graft("clone", "remote#vol", "copy")
    assert graft("export", "copy", "film2", "--json").json["bytes"] == len(content)
    assert (workdir / "film2").read_bytes() == content


def test_export_of_now_and_of_the_past(graft, replica, database):
    graft("sql", replica, "DELETE FROM towns WHERE id > 10")
    assert "LSN 1 + 1 local commit" in graft("export", replica, "now.db").out
    graft("export", replica, "then.db", "--at", 1)
    assert rows_of("now.db") == [(10,)]
    assert rows_of("then.db") == rows_of(database)
    assert "not 99" in graft("export", replica, "new.db", "--at", 99, code=ExitCode.FAILED).err
    assert "neither an LSN nor" in graft("export", replica, "new.db", "--at", "soon", code=ExitCode.FAILED).err


def test_export_replaces_a_file_only_if_told(graft, replica, workdir):
    (workdir / "out.db").write_text("mine")
    assert "exists already" in graft("export", replica, "out.db", code=ExitCode.FAILED).err
    assert (workdir / "out.db").read_text() == "mine"
    graft("export", replica, "out.db", "--force")
    assert rows_of("out.db") == [(100,)]


def test_forks_of_now_and_of_the_past(graft, replica, monkeypatch):
    graft("sql", replica, "DELETE FROM towns WHERE id > 10")
    assert graft("fork", replica, "now", "--json").json["remote"].endswith("remote#now")
    monkeypatch.chdir(replica)
    assert "graft clone" in graft("fork", "then", "--at", 1).out
    monkeypatch.chdir("..")
    assert graft("sql", "remote#now", "SELECT count(*) FROM towns", "--csv").lines[1] == "10"
    assert graft("sql", "remote#then", "SELECT count(*) FROM towns", "--csv").lines[1] == "100"
    assert "exists already" in graft("fork", replica, "now", code=ExitCode.FAILED).err
    assert graft("volumes", "remote", "--json").json["volumes"] == ["now", "then", "towns"]


def test_doctor(graft):
    facts = graft("doctor", "--json").json
    assert facts["remote"] is None
    assert "sqlite" in facts
    assert "honours conditional writes" in graft("doctor", "remote").out
    assert graft("doctor", "remote", "--json").json["remote"]["safe"] is True


def test_doctor_finds_an_endpoint_that_would_lose_commits(graft, monkeypatch):
    def overwrite(store, key, data):
        store.put(key, data)
        return True

    monkeypatch.setattr(LocalDirStore, "put_if_absent", overwrite)
    assert "overwrites objects" in graft("doctor", "remote", code=ExitCode.REFUSED).err
    assert "overwrites objects" in graft("init", "here", "remote", code=ExitCode.REFUSED).err


def test_a_raw_import_leaves_no_wal_behind(graft, workdir):
    made = apsw.Connection(str(workdir / "wal.db"))
    made.pragma("journal_mode", "wal")
    made.execute("CREATE TABLE t(a)")
    assert "without --raw" in graft("import", "--raw", "wal.db", "new", "remote", code=ExitCode.FAILED).err
    assert not (workdir / "new").exists()
    graft("import", "wal.db", "new", "remote")
    made.close()
