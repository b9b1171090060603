"""`graft remote`, and what the commands say where the remote is not the one that the replica knows."""

import shutil

from graft_cli.exitcodes import ExitCode


def test_show_and_set(graft, replica, workdir):
    assert graft("remote", "show", replica).out == f"{workdir}/remote#towns\n"
    assert graft("remote", "show", replica, "--json").json["remote"] == f"{workdir}/remote#towns"
    shutil.move(workdir / "remote", workdir / "moved")
    assert "was it moved" in graft("pull", replica, code=ExitCode.UNAVAILABLE).err
    done = graft("remote", "set", "moved", replica)
    assert done.lines == [f"{replica} is now a replica of {workdir}/moved#towns, no longer of {workdir}/remote#towns"]
    assert graft("pull", replica).lines[0].startswith("The remote has nothing new")
    assert "is another volume" in _other(graft, replica).err


def _other(graft, replica):
    graft("init", "stranger", "elsewhere#towns")
    return graft("remote", "set", "elsewhere", replica, code=ExitCode.FAILED)


def test_wrong_usage(graft, replica):
    for args in (["set"], ["set", "a", "b", "c"], ["show", "a", "b"], ["rename"]):
        graft("remote", *args, code=ExitCode.USAGE)


def test_a_drive_that_is_not_mounted(graft, replica, workdir):
    graft("sql", replica, "DELETE FROM towns WHERE rowid = 1")
    shutil.move(workdir / "remote", workdir / "away")
    (workdir / "remote").mkdir()
    ran = graft("push", replica, code=ExitCode.CORRUPT)
    assert "a drive that is not mounted" in ran.err
    assert "graft pull --policy fork --fork-name NAME" in ran.err
    assert list((workdir / "remote").iterdir()) == []
    assert graft("status", replica, "--json").json["local_commits"] == 1
    (workdir / "remote").rmdir()
    shutil.move(workdir / "away", workdir / "remote")
    assert graft("push", replica).lines[0].startswith("Pushed LSN 2")
    graft("verify", replica)
