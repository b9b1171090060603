"""One place, however it is written; and another address for a volume that was moved."""

import contextlib
import shutil

import pytest

from graft.errors import GraftError, HistoryLost, NoSuchVolume, NotAReplica, OtherVolume, RemoteUnavailable, WriterBusy
from graft.remote.address import RemoteAddress, is_same_store, parse_remote
from graft.replica.opening import open_replica
from graft.sync.clone import clone, init
from graft.sync.pull import pull
from graft.sync.push import push
from graft.sync.set_remote import set_remote
from graft_sqlite_vfs.connection import connect
from pagestore.s3.settings import URL_OPTIONS
from tests.graft.support import commit, content


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    return tmp_path


SPELLINGS = (
    "../store",
    "../store/",
    "./../store",
    "../cwd/../store",
    "{here}/store",
    "{here}//store/.",
    "{here}/x/../store",
    "file://{here}/store",
    "file://localhost{here}/cwd/../store/",
    "FILE://{here}/st%6Fre",
    "~/store",
)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_directory_is_stored_in_one_spelling(here, monkeypatch, spelling):
    monkeypatch.setenv("HOME", str(here))
    written = spelling.format(here=here)
    assert parse_remote(f"{written}#app") == RemoteAddress(str(here / "store"), "app")
    assert parse_remote(RemoteAddress(written, "app")) == RemoteAddress(str(here / "store"), "app")


def test_dots_are_followed_where_symbolic_links_lead(here):
    (here / "far" / "away").mkdir(parents=True)
    (here / "link").symlink_to(here / "far" / "away")
    assert parse_remote("../link/../store").store_url == str(here / "far" / "store")
    assert parse_remote("../link").store_url == str(here / "link"), "a link may be turned later"
    assert is_same_store("../link", str(here / "far" / "away"))
    assert not is_same_store("../link", str(here / "far"))


def test_a_path_that_an_address_cannot_hold_stays_a_url(here):
    address = parse_remote(f"file://{here}/a%23b#app")
    assert parse_remote(str(address)) == address == RemoteAddress(f"file://{here}/a%23b", "app")


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ("s3://bucket/", "s3://bucket"),
        ("s3://bucket/a/b/", "s3://bucket/a/b"),
        ("S3://bucket/a", "s3://bucket/a"),
        ("s3://bucket/a?client=auto", "s3://bucket/a"),
        ("s3://bucket/a/?client=boto3", "s3://bucket/a?client=boto3"),
        ("s3://bucket/a?region=eu&endpoint=http://host:9000/", "s3://bucket/a?endpoint=http://host:9000&region=eu"),
        ("memory://name/", "memory://name"),
        ("ftp://host/x", "ftp://host/x"),
        ("s3://bucket/a?nonsense=1", "s3://bucket/a?nonsense=1"),
    ],
)
def test_urls(written, stored):
    assert parse_remote(written).store_url == stored
    assert parse_remote(stored).store_url == stored


def test_every_option_of_an_s3_url_is_kept():
    query = "&".join(
        f"{name}={value}" for name, value in zip(URL_OPTIONS, ("http://h:1", "r", "boto3", "0"), strict=True)
    )
    assert parse_remote(f"s3://bucket/a?{query}").store_url == f"s3://bucket/a?{query}"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("s3://b/p", "s3://b/p/?client=boto3", True),
        ("s3://b/p?client=obstore", "s3://b/p?client=boto3&hedge_budget=0", True),
        ("s3://b/p?endpoint=http://Host:80", "s3://b/p?endpoint=http://host/", True),
        ("s3://b/p?endpoint=https://s3.eu-central-1.amazonaws.com", "s3://b/p?region=eu-central-1", True),
        ("s3://b/p?endpoint=http://h:9000", "s3://b/p?endpoint=http://h:9001", False),
        ("s3://b/p?endpoint=http://h:9000", "s3://b/p", False),
        ("s3://b/p", "s3://b/q", False),
        ("s3://b/p", "s3://c/p", False),
        ("s3://b/p", "/b/p", False),
        ("memory://b", "s3://b", False),
    ],
)
def test_same_bucket(monkeypatch, one, other, same):
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    assert is_same_store(one, other) is is_same_store(other, one) is same


def test_an_endpoint_of_the_environment(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9000")
    assert is_same_store("s3://b/p", "s3://b/p?endpoint=http://127.0.0.1:9000")
    assert not is_same_store("s3://b/p", "s3://b/p?endpoint=http://127.0.0.1:9001")


@pytest.mark.parametrize("stored", ["../store", "file://{here}/store"])
def test_a_replica_is_found_again_by_every_spelling_from_every_place(here, monkeypatch, stored):
    monkeypatch.setenv("HOME", str(here))
    connect("app", remote=f"{stored.format(here=here)}#app").close()
    monkeypatch.chdir(here)
    with contextlib.closing(connect("cwd/app")) as database:
        database.execute("CREATE TABLE t(x)")
        database.pragma("graft_push")
    monkeypatch.chdir(here / "cwd")
    for spelling in SPELLINGS:
        connect("app", remote=f"{spelling.format(here=here)}#app").close()
    with pytest.raises(OtherVolume):
        connect("app", remote="../another#app")
    with pytest.raises(OtherVolume):
        connect("app", remote="../store#another")


class TestMoved:
    @pytest.fixture
    def moved(self, here):
        """A replica whose remote was moved after its first push."""
        with contextlib.closing(init(here / "a", "../store#app")) as replica:
            commit(replica, [1], "first")
            push(replica)
        shutil.copytree(here / "store", here / "copy")
        shutil.move(here / "store", here / "new place")
        return here / "a"

    def test_it_is_found_at_its_new_address(self, here, moved):
        with contextlib.closing(open_replica(moved)) as replica:
            commit(replica, [2], "second")
            with pytest.raises(GraftError, match="mounted, was it moved"):
                push(replica)
        done = set_remote(moved, "../new place")
        assert (done.before, done.after, done.named) == (f"{here}/store#app", f"{here}/new place#app", False)
        with contextlib.closing(open_replica(moved)) as replica:
            assert push(replica).after == 2
            with contextlib.closing(clone(here / "b", replica.remote_address)) as reader:
                assert content(reader.snapshot()) == content(replica.snapshot())

    def test_another_volume_is_refused(self, here, moved):
        with contextlib.closing(init(here / "other", "../new place#other")):
            pass
        with pytest.raises(OtherVolume, match="is another volume"):
            set_remote(moved, "../new place#other")
        with contextlib.closing(init(here / "namesake", "../elsewhere#app")):
            pass
        with pytest.raises(OtherVolume):
            set_remote(moved, "../elsewhere")
        self.unchanged(here, moved)

    def test_an_older_copy_is_refused(self, here, moved):
        set_remote(moved, "../new place")
        with contextlib.closing(open_replica(moved)) as replica:
            commit(replica, [2], "second")
            push(replica)
        with pytest.raises(HistoryLost, match="does not hold commit 2"):
            set_remote(moved, "../copy")
        with contextlib.closing(open_replica(moved)) as replica:
            assert replica.remote_address == f"{here}/new place#app"
            pull(replica)

    @pytest.mark.parametrize("where", ["../nowhere", "../new place#absent", "memory://empty"])
    def test_no_volume_there(self, here, moved, where):
        with pytest.raises((NoSuchVolume, RemoteUnavailable)):
            set_remote(moved, where)
        assert not (here / "nowhere").exists()
        self.unchanged(here, moved)

    def test_a_lost_name_is_written_again(self, here, moved):
        (here / "new place" / "volumes" / "app").unlink()
        with pytest.raises(HistoryLost, match="graft remote set"):
            connect(here / "b", remote="../new place#app")
        assert set_remote(moved, "../new place#app").named
        with contextlib.closing(open_replica(moved)) as replica:
            commit(replica, [2], "second")
            push(replica)
            with contextlib.closing(clone(here / "b", "../new place#app")) as reader:
                assert reader.volume == replica.volume
                assert content(reader.snapshot()) == content(replica.snapshot())

    def test_nobody_may_have_it_open(self, here, moved):
        with contextlib.closing(open_replica(moved)), pytest.raises(WriterBusy, match="is open"):
            set_remote(moved, "../new place")
        with pytest.raises(NotAReplica):
            set_remote(here / "nothing", "../new place")
        assert not (here / "nothing").exists()
        self.unchanged(here, moved)

    def unchanged(self, here, moved):
        with contextlib.closing(open_replica(moved)) as replica:
            assert replica.remote_address == f"{here}/store#app"
        assert {path.name for path in (here / "new place" / "volumes").iterdir()} <= {"app", "other"}
