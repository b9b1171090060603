"""`graft gc`, `pin`, `volumes --long`, `du`, `rm` and `mv`, as a user types them."""

import pytest

from graft_cli.durations import Duration
from graft_cli.exitcodes import ExitCode


@pytest.fixture
def history(graft, replica):
    """Four versions of the volume ``towns``."""
    for number in range(3):
        graft("sql", replica, f"DELETE FROM towns WHERE rowid = {number + 1}")
        graft("push", replica)
    return replica


def test_a_dry_run_tells_what_would_go_and_why_the_rest_stays(graft, history, workdir):
    ran = graft("gc", "remote", "--keep-last", 2, "--dry-run")
    assert ran.lines[0] == "towns: LSN 3 to 4 stay"
    assert ran.lines[1].startswith("Would delete 2 commits")
    assert "why they stay" in ran.out
    assert "the newest version of towns" in ran.out
    assert len(graft("log", history, "--json").lines) == 4
    told = graft("gc", "remote", "--keep-last", 2, "--dry-run", "--json").json
    assert (told["dry_run"], told["commits"]) == (True, 2)
    assert all(item["why"] for item in told["kept"])


def test_what_was_collected_answers_with_what_remains(graft, history):
    assert graft("gc", history, "--keep-last", "2").lines[1].startswith("Deleted 2 commits")
    ran = graft("sql", history, "--at", "1", "SELECT count(*) FROM towns", code=ExitCode.FAILED)
    assert "LSN 1 was collected; what remains is LSN 3 and all newer ones" in ran.err
    assert len(graft("log", history, "--json").lines) == 2
    assert graft("verify", history).lines[-1].endswith("all is well")
    graft("sql", history, "--at", "3", "SELECT count(*) FROM towns")
    assert graft("gc", history, "--keep-last", "2").lines[1] == "Nothing to delete"


def test_a_pin_keeps_a_version(graft, history):
    assert graft("pin", history, "--at", "2", "--for", "1h").lines[0].startswith("LSN 2 stays until 20")
    graft("gc", "remote", "--keep-last", "1", "--grace", "0")
    graft("sql", history, "--at", "2", "SELECT count(*) FROM towns")
    graft("sql", history, "--at", "3", "SELECT count(*) FROM towns", code=ExitCode.FAILED)


def test_wrong_rules(graft, history):
    graft("gc", "remote", "--keep-last", "0", code=ExitCode.USAGE)
    assert "no time span" in graft("gc", "remote", "--keep-for", "soon", code=ExitCode.USAGE).err
    assert "no volume named other" in graft("gc", "remote#other", "--keep-last", "1", code=ExitCode.FAILED).err


def test_volumes_and_what_they_take(graft, history, workdir):
    graft("fork", history, "child")
    listed = graft("volumes", "remote", "--long", "--json").json["volumes"]
    assert [(volume["name"], volume["head"], volume["parent"]) for volume in listed] == [
        ("child", 4, "towns@4"),
        ("towns", 4, None),
    ]
    assert "child" in graft("volumes", "remote", "--long").lines[2]
    used = graft("du", "remote", "--json").json
    assert used["bytes"] == sum(path.stat().st_size for path in (workdir / "remote").rglob("*") if path.is_file())
    assert graft("du", history).lines[1].startswith("towns")


def test_removing_and_renaming(graft, history, workdir):
    graft("fork", history, "child")
    ran = graft("rm", "remote#towns", code=ExitCode.FAILED)
    assert "its forks child read pages of it" in ran.err
    graft("rm", "remote#child")
    assert graft("mv", history, "villages").lines[0].endswith("#villages now")
    assert graft("volumes", "remote").lines == ["villages"]
    graft("sql", history, "DELETE FROM towns WHERE rowid = 4")
    graft("push", history)
    graft("rm", history)
    assert graft("volumes", "remote").lines == []
    assert "was removed" in graft("pull", history, code=ExitCode.FAILED).err
    graft("rm", "remote", code=ExitCode.USAGE)
    graft("mv", "remote#villages", "s3://x/y#z", code=ExitCode.USAGE)
    graft("rm", "remote#nothing", code=ExitCode.FAILED)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("45s", 45), ("30m", 1800), ("12h", 43200), ("7d", 604800), ("1.5w", 907200)]
)
def test_time_spans(text, seconds):
    assert Duration().convert(text, None, None) == seconds
