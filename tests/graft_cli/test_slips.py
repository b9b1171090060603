"""Wrong input as new users give it: nothing is made by mistake, and the message says what to do."""

import pytest

from graft.errors import BadRequest, NoSuchVolume, NotAReplica
from graft_cli.exitcodes import ExitCode
from graft_cli.main import SECTIONS
from graft_cli.other_words import INSTEAD
from graft_sqlite_vfs.connection import connect

COMMANDS = {command.name for section in SECTIONS for command in section.commands}


def tree(directory):
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


@pytest.mark.parametrize("address", ["s3:/bucket/x#app", "s3//bucket/x#app", "localhost:9000/bucket#app", "./rem#"])
@pytest.mark.parametrize(
    "args",
    [
        ["init", "new"],
        ["clone"],
        ["import", "towns.db", "new"],
        ["sql"],
        ["doctor"],
        ["volumes"],
        ["serve"],
    ],
    ids=lambda args: args[0],
)
def test_a_mistyped_address_makes_nothing(graft, workdir, database, args, address):
    more = ["SELECT 1"] if args == ["sql"] else []
    before = tree(workdir)
    ran = graft(*args, address, *more, code=ExitCode.FAILED)
    assert "mistyped URL" in ran.err or "names no volume after '#'" in ran.err
    assert tree(workdir) == before


@pytest.mark.parametrize("where", ["s3://bucket/x#app", "s3:/bucket/x"])
@pytest.mark.parametrize(
    "args",
    [
        ["init", "{}", "remote"],
        ["clone", "remote#towns", "{}"],
        ["import", "towns.db", "{}", "remote"],
        ["export", "{}", "out.db"],
        ["fork", "{}", "name"],
        *([name, "{}"] for name in ("push", "pull", "fetch", "status", "log", "audit", "verify", "compact", "follow")),
    ],
    ids=lambda args: args[0],
)
def test_an_address_in_place_of_a_directory_makes_nothing(graft, replica, workdir, args, where):
    before = tree(workdir)
    ran = graft(*(arg.format(where) for arg in args), code=ExitCode.USAGE)
    assert "address of a remote" in ran.err
    assert tree(workdir) == before


@pytest.mark.parametrize(
    "args",
    [
        ["status", ""],
        ["push", "--message", "", "here"],
        ["push", "--message=", "here"],
        ["clone", ""],
        ["clone", "remote#towns", ""],
        ["init", "", "remote"],
        ["init", "new", ""],
        ["import", "towns.db", ""],
        ["export", "here", ""],
        ["export", "here", "out.db", "--at", ""],
        ["fork", "", "name"],
        ["fork", "here", ""],
        ["sql", "", "SELECT 1"],
        ["sql", "here", ""],
        ["shell", ""],
        ["follow", "here", "--metrics", ""],
        ["doctor", ""],
        ["volumes", ""],
        ["serve", ""],
        ["serve", "remote", "--host", ""],
        ["serve", "remote", "--origin", ""],
        ["pull", "here", "--policy", "fork", "--fork-name", ""],
    ],
    ids=" ".join,
)
def test_an_empty_argument_is_refused(graft, replica, workdir, monkeypatch, args):
    before = tree(workdir)
    ran = graft(*args, code=ExitCode.USAGE)
    assert "it must not be empty" in ran.err or "does not exist" in ran.err or "''" in ran.err
    assert tree(workdir) == before


def test_an_empty_path_is_not_the_working_directory(graft, replica, monkeypatch):
    monkeypatch.chdir(replica)
    assert graft("status").lines
    graft("status", "", code=ExitCode.USAGE)
    with pytest.raises(BadRequest, match="is empty"):
        connect("")


def test_what_cannot_be_is_said_before_anything_is_done(graft, replica):
    ran = graft("pull", replica, "--policy", "fork", "--fork-name", "a b", code=ExitCode.USAGE)
    assert "not a volume name: 'a b'" in ran.err
    ran = graft("follow", replica, "--metrics", "99999", "--until", 1, code=ExitCode.USAGE)
    assert "99999 is not a port" in ran.err


def test_a_directory_that_becomes_a_remote_is_told(graft, database, workdir):
    ran = graft("init", "first", "bucket/prefix#app")
    assert f"created the directory {workdir}/bucket/prefix as a new remote (for a bucket, use s3://" in ran.err
    assert graft("init", "second", "bucket/prefix#other").err == ""
    assert "created the directory" in graft("import", database, "third", "elsewhere").err
    assert graft("init", "fourth", "more", "--json").err == ""


def test_near_names_are_listed(graft, replica, database, workdir):
    err = graft("clone", "remote#twons", code=ExitCode.FAILED).err
    assert "no volume named twons" in err
    assert "did you mean towns?" in err
    assert "there are towns" in graft("sql", "remote#zebra", "SELECT 1", code=ExitCode.FAILED).err
    assert f"there is no directory {workdir}/remotes; did you mean {workdir}/remote?" in (
        graft("clone", "./remotes#towns", code=ExitCode.FAILED).err
    )
    assert "did you mean" in graft("status", "heer", code=ExitCode.FAILED).err
    assert "but a file; graft import towns.db DIR REMOTE" in graft("status", "towns.db", code=ExitCode.FAILED).err
    assert "graft volumes" in graft("push", "remote", code=ExitCode.FAILED).err
    assert "graft clone" in graft("status", "./remote#towns", code=ExitCode.FAILED).err
    assert f"did you mean {workdir}/here?" in graft("status", code=ExitCode.FAILED).err


def test_near_names_in_python(graft, replica):
    with pytest.raises(NotAReplica, match="did you mean here"):
        connect("hree")
    with pytest.raises(NoSuchVolume, match="did you mean towns"):
        connect("new", remote="./remote#twons", at=1)
    with pytest.raises(BadRequest, match="address of a remote"):
        connect("s3://bucket/x#app")
    with pytest.raises(BadRequest, match="mistyped URL"):
        connect("new", remote="s3:/bucket/x#app")


def test_a_directory_that_may_be_meant_as_a_bucket_is_told(workdir, caplog):
    for meant in ("./drive/s#app", f"{workdir}/other/s#app"):
        connect(f"a{len(tree(workdir))}", remote=meant).close()
    assert caplog.messages == []
    connect("b", remote="bucket/x#app").close()
    connect("c", remote="folder#app").close()
    assert [message.partition(",")[0] for message in caplog.messages] == [
        f"created the directory {workdir}/bucket/x", f"created the directory {workdir}/folder"
    ]  # fmt: skip
    connect("d", remote="folder#app").close()
    assert len(caplog.messages) == 2


def test_a_new_volume_beside_one_of_a_similar_name_is_told(graft, replica, caplog):
    connect("zebra", remote="./remote").close()
    connect("zebra2", remote="./remote").close()
    assert caplog.messages == []
    with pytest.raises(NoSuchVolume, match="did you mean towns"):
        connect("twons", remote="./remote", create=False)
    connect("twons", remote="./remote").close()
    (told,) = caplog.messages
    assert "created a new, empty volume twons" in told
    assert "has towns, which may have been meant" in told
    connect("tows", remote="./remote", create=True).close()
    assert len(caplog.messages) == 1, "it was asked for"


def test_volumes_of_what_is_not_there(graft, replica, workdir):
    ran = graft("volumes", "./typo", code=ExitCode.FAILED)
    assert f"there is no directory {workdir}/typo" in ran.err
    assert "did you mean" in graft("volumes", "./remte", code=ExitCode.FAILED).err
    assert f"graft volumes file://{workdir}/remote" in graft("volumes", replica, code=ExitCode.FAILED).err.replace(
        f"graft volumes {workdir}", f"graft volumes file://{workdir}"
    )
    (workdir / "empty").mkdir()
    ran = graft("volumes", "empty")
    assert (ran.out, ran.err) == ("", f"graft: there are no volumes in {workdir}/empty\n")
    assert tree(workdir / "empty") == []


@pytest.mark.parametrize("word", sorted(INSTEAD))
def test_commands_of_other_tools_point_to_ours(graft, word):
    if word in COMMANDS:
        pytest.skip(f"graft {word} is there")
    err = graft(word, "whatever", code=ExitCode.USAGE).err
    assert err.startswith(f"graft: no such command: '{word}'; ")
    named = {part.partition(" ")[0].strip(",;:)") for part in err.split("graft ")[1:]}
    assert named & COMMANDS or "graft." in err or "--help" in err


def test_only_the_harmless_is_suggested_for_commit(graft):
    err = graft("commit", "-m", "x", code=ExitCode.USAGE).err
    assert "graft push -m" in err
    assert "compact" not in err
    for word in ("commits", "kommit", "Commit"):
        err = graft(word, code=ExitCode.USAGE).err
        assert "graft push -m" in err
        assert "compact" not in err


def test_every_command_that_is_pointed_to_is_there():
    for text in INSTEAD.values():
        for part in text.split("graft ")[1:]:
            word = part.partition(" ")[0].strip(",;:.)")
            assert word in COMMANDS | {"--help", "COMMAND"}, text


def test_doctor_checks_a_replica_as_a_replica(graft, replica, workdir):
    before = [tree(workdir / "remote"), tree(replica)]
    ran = graft("doctor", replica)
    assert "here is a replica of" in ran.out
    assert "it is at LSN 1, the replica is up to date" in ran.out
    assert "honours" not in ran.out
    found = graft("doctor", replica, "--json").json
    assert (found["remote"], found["replica"]["state"], found["replica"]["lsn"]) == (None, "up to date", 1)
    assert [tree(workdir / "remote"), tree(replica)] == before


def test_doctor_tells_what_is_wrong_with_a_replica(graft, replica, workdir):
    for commit in (workdir / "remote" / "logs").rglob("*"):
        if commit.is_file():
            commit.unlink()
    ran = graft("doctor", replica, code=ExitCode.CORRUPT)
    assert "it opens" in ran.out
    (replica / "state.db").write_bytes(b"nonsense" * 1000)
    assert "state.db" in graft("doctor", replica, code=ExitCode.CORRUPT).err


@pytest.mark.parametrize("there", [True, False])
def test_doctor_leaves_nothing_in_a_remote(graft, workdir, there):
    if there:
        (workdir / "deep" / "store").mkdir(parents=True)
    before = tree(workdir)
    assert "honours conditional writes" in graft("doctor", "deep/store").out
    assert tree(workdir) == before


def test_doctor_leaves_a_remote_in_use_as_it_is(graft, replica, workdir):
    before = tree(workdir / "remote")
    graft("doctor", "remote")
    assert tree(workdir / "remote") == before
