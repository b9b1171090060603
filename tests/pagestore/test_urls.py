import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from pagestore.s3.settings import S3Settings
from pagestore.s3.store import S3Store
from pagestore.stores.local_dir import LocalDirStore
from pagestore.stores.memory import MemoryStore
from pagestore.urls import open_store


@pytest.mark.parametrize(
    ("url", "kind", "canonical"),
    [
        ("memory://here", MemoryStore, "memory://here"),
        ("memory://here/and/there", MemoryStore, "memory://here/and/there"),
        ("file:///a/b", LocalDirStore, "file:///a/b"),
        ("file:///a%20b", LocalDirStore, "file:///a%20b"),
        ("/a/b c", LocalDirStore, "file:///a/b%20c"),
        (Path("/a/b"), LocalDirStore, "file:///a/b"),
        ("s3://bucket", S3Store, "s3://bucket"),
        ("s3://bucket/", S3Store, "s3://bucket"),
        ("s3://bucket/a/b/", S3Store, "s3://bucket/a/b"),
        (
            "s3://bucket/a?region=eu-central-1&endpoint=http://127.0.0.1:9000/",
            S3Store,
            "s3://bucket/a?endpoint=http://127.0.0.1:9000&region=eu-central-1",
        ),
        (
            "s3://bucket?endpoint=http%3A%2F%2F127.0.0.1%3A9000",
            S3Store,
            "s3://bucket?endpoint=http://127.0.0.1:9000",
        ),
        ("s3://bucket?client=boto3", S3Store, "s3://bucket?client=boto3"),
        ("s3://bucket?client=auto", S3Store, "s3://bucket"),
    ],
)
def test_each_kind_of_url(url, kind, canonical):
    store = open_store(url)
    assert isinstance(getattr(store, "inner", store), kind)
    assert store.url == canonical
    assert open_store(store.url).url == canonical


def test_a_plain_path_is_relative_to_here_and_knows_home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/ann")
    assert open_store("store").url == (tmp_path / "store").as_uri()
    assert open_store("~/store").url == "file:///home/ann/store"


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("", "must not be empty"),
        ("http://example.com/bucket", "has a scheme that is not supported"),
        ("s4://bucket", "use s3://bucket/prefix"),
        ("file://host/path", "absolute path"),
        ("file://", "absolute path"),
        ("memory://", "key"),
        ("memory://a b", "key"),
        ("s3://", "bucket"),
        ("s3://a", "bucket"),
        ("s3://bucket/a b", "key"),
        ("s3://bucket/../x", "key"),
        ("s3://bucket#x", "cannot have"),
        ("file:///a?x=y", "cannot have"),
        ("s3://bucket?colour=red", "'colour' is not an option"),
        ("s3://bucket?endpoint=", "an endpoint looks like"),
        ("s3://bucket?endpoint=127.0.0.1:9000", "an endpoint looks like"),
        ("s3://bucket?region=", "at least 1 character"),
        ("s3://bucket?client=curl", "client: Input should be 'auto', 'boto3' or 'obstore'"),
    ],
)
def test_a_url_that_is_none_is_refused_in_one_sentence(url, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        open_store(url)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "s3://key:hunter2@bucket/prefix",
        "https://key:hunter2@example.com",
        "s3://bucket?endpoint=https://key:hunter2@example.com",
        "s3://bucket?endpoint=https://key:hunter2@example.com&region=",
        "s3://bucket?secret=hunter2",
    ],
)
def test_secrets_are_refused_and_not_repeated(url):
    with pytest.raises(ValueError) as caught:
        open_store(url)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_client_of_the_environment_that_is_none_is_refused(monkeypatch):
    monkeypatch.setenv("GRAFT_S3_CLIENT", "curl")
    with pytest.raises(ValueError, match="client: Input should be"):
        open_store("s3://bucket")


def test_settings_are_kept_beside_the_url():
    store = open_store("s3://bucket?region=r", s3_settings=S3Settings(parallelism=3, region="other"))
    assert store.parallelism == 3
    assert store.url == "s3://bucket?region=r"


def test_the_endpoint_may_come_from_the_environment(s3_moto_url, monkeypatch):
    plain, endpoint = s3_moto_url.split("?endpoint=")
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    with closing(open_store(plain)) as store:
        store.put("k", b"body")
        assert store.url == plain
    with closing(open_store(s3_moto_url)) as store:
        assert store.get("k") == b"body"


def test_boto3_is_imported_only_by_the_first_request():
    code = (
        "import sys; from pagestore.urls import open_store; "
        "open_store('memory://x').put('k', b''); assert 'pydantic' not in sys.modules; "
        "open_store('s3://bucket'); assert 'boto3' not in sys.modules and 'botocore' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
