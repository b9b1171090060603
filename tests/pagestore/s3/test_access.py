"""Which client reaches a bucket, where and as whom; never over a network."""

import os
import subprocess
import sys
from contextlib import closing

import pytest
from botocore.exceptions import NoCredentialsError, PartialCredentialsError, ProfileNotFound

from pagestore.errors import StoreRefused
from pagestore.s3 import access as s3_access
from pagestore.s3 import obstore_api as obstore_s3
from pagestore.s3.access import Unsupported, find_access
from pagestore.s3.settings import S3Settings
from pagestore.s3.sigv4 import Credentials
from pagestore.urls import open_store
from testbed import s3_servers

FAKE = Credentials(s3_servers.FAKE_KEY_ID, s3_servers.FAKE_SECRET)


def found(monkeypatch, bucket="bucket", settings=None, **environment):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return find_access(bucket, settings or S3Settings(), os.environ)


@pytest.mark.parametrize(
    ("bucket", "settings", "environment", "endpoint", "bucket_url", "region"),
    [
        ("b.c", {}, {}, "https://s3.us-east-1.amazonaws.com", "https://s3.us-east-1.amazonaws.com/b.c", "us-east-1"),
        (
            "bucket",
            {"region": "eu-west-1"},
            {},
            "https://s3.eu-west-1.amazonaws.com",
            "https://bucket.s3.eu-west-1.amazonaws.com",
            "eu-west-1",
        ),
        (
            "bucket",
            {},
            {"AWS_REGION": "eu-west-2"},
            "https://s3.eu-west-2.amazonaws.com",
            "https://bucket.s3.eu-west-2.amazonaws.com",
            "eu-west-2",
        ),
        ("b", {"endpoint": "http://127.0.0.1:1/"}, {}, "http://127.0.0.1:1", "http://127.0.0.1:1/b", "us-east-1"),
        (
            "b",
            {},
            {"AWS_ENDPOINT_URL": "http://127.0.0.1:2/"},
            "http://127.0.0.1:2",
            "http://127.0.0.1:2/b",
            "us-east-1",
        ),
        (
            "b",
            {},
            {"AWS_ENDPOINT_URL": "http://127.0.0.1:2", "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:3"},
            "http://127.0.0.1:3",
            "http://127.0.0.1:3/b",
            "us-east-1",
        ),
        (
            "b",
            {"endpoint": "http://127.0.0.1:1"},
            {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:3"},
            "http://127.0.0.1:1",
            "http://127.0.0.1:1/b",
            "us-east-1",
        ),
    ],
)
def test_places(monkeypatch, bucket, settings, environment, endpoint, bucket_url, region):
    access = found(monkeypatch, bucket, S3Settings(**settings), **environment)
    assert (access.endpoint, access.bucket_url, access.region) == (endpoint, bucket_url, region)
    assert access.credentials() == FAKE
    assert access.by_host_name == bucket_url.startswith("https://bucket.")


def test_an_endpoint_of_the_environment_may_be_ignored(monkeypatch):
    ignoring = {"AWS_ENDPOINT_URL": "http://127.0.0.1:2", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}
    assert found(monkeypatch, **ignoring).endpoint == "https://s3.us-east-1.amazonaws.com"


@pytest.mark.parametrize(
    ("settings", "environment", "reason"),
    [
        ({}, {"AWS_USE_FIPS_ENDPOINT": "true"}, "FIPS"),
        ({}, {"AWS_USE_DUALSTACK_ENDPOINT": "True"}, "dual-stack"),
        ({"region": "cn-north-1"}, {}, "cn-north-1"),
        ({"region": "us-iso-east-1"}, {}, "us-iso-east-1"),
        ({}, {"AWS_CA_BUNDLE": "/some/file"}, "AWS_CA_BUNDLE"),
        ({}, {"HTTPS_PROXY": "http://127.0.0.1:9"}, "proxy"),
        ({"endpoint": "http://10.0.0.1"}, {"http_proxy": "http://127.0.0.1:9"}, "proxy"),
    ],
)
def test_what_needs_boto3(monkeypatch, settings, environment, reason):
    access = found(monkeypatch, settings=S3Settings(**settings), **environment)
    assert isinstance(access, Unsupported)
    assert reason in access.reason


def test_no_proxy_for_hosts_that_need_none(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert not isinstance(found(monkeypatch, settings=S3Settings(endpoint="http://127.0.0.1:1")), Unsupported)


@pytest.fixture
def profile(tmp_path, monkeypatch):
    """Write an AWS configuration with one profile, and take the credentials out of the environment."""

    def write(**options):
        lines = [f"{name} = {value}" for name, value in options.items()]
        (tmp_path / "config").write_text("\n".join(["[profile ann]", *lines]))
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
        monkeypatch.setenv("AWS_PROFILE", "ann")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
            monkeypatch.delenv(name)

    return write


KEYS = {"aws_access_key_id": "ann", "aws_secret_access_key": "anns", "aws_session_token": "t"}


def test_a_profile_tells_everything(monkeypatch, profile):
    profile(**KEYS, region="eu-north-1", endpoint_url="http://127.0.0.1:5/", ca_bundle="/some/file")
    access = found(monkeypatch)
    assert access.credentials() == Credentials("ann", "anns", "t")
    assert (access.bucket_url, access.region) == ("http://127.0.0.1:5/bucket", "eu-north-1")


def test_a_process_may_give_credentials(monkeypatch, profile):
    told = '{"Version": 1, "AccessKeyId": "ann", "SecretAccessKey": "anns"}'
    profile(credential_process=f"echo '{told}'")
    assert found(monkeypatch).credentials() == Credentials("ann", "anns", None)


def test_a_profile_that_addresses_buckets_in_its_own_way_needs_boto3(monkeypatch, profile):
    profile(**KEYS, s3="\n  addressing_style = virtual")
    assert "s3" in found(monkeypatch).reason


def test_credentials_that_are_not_there(monkeypatch, profile):
    profile()
    with pytest.raises(NoCredentialsError):
        found(monkeypatch)
    with pytest.raises(PartialCredentialsError):
        found(monkeypatch, AWS_ACCESS_KEY_ID="ann")
    with pytest.raises(ProfileNotFound):
        found(monkeypatch, AWS_PROFILE="nobody")


def test_without_obstore_boto3_is_used(s3_moto_url, monkeypatch):
    monkeypatch.setattr(s3_access, "find_spec", lambda _: None)
    with closing(open_store(s3_moto_url)) as store:
        assert list(store.list("")) == []
        assert client_of(store) == "Boto3Api"


@pytest.mark.parametrize(
    ("option", "variable", "used"),
    [
        ("", None, "ObstoreApi"),
        ("", "boto3", "Boto3Api"),
        ("", "obstore", "ObstoreApi"),
        ("", "auto", "ObstoreApi"),
        ("&client=boto3", "obstore", "Boto3Api"),
        ("&client=obstore", "boto3", "ObstoreApi"),
    ],
)
def test_choosing_a_client(s3_moto_url, monkeypatch, option, variable, used):
    if variable is not None:
        monkeypatch.setenv("GRAFT_S3_CLIENT", variable)
    with closing(open_store(s3_moto_url + option)) as store:
        assert list(store.list("")) == []
        assert client_of(store) == used


def test_a_new_key_is_used_as_soon_as_there_is_one(faulty_s3, monkeypatch):
    keys = iter(["first", "first", "second"])
    monkeypatch.setattr(
        s3_access,
        "_from_environment",
        lambda _: s3_access._Found(None, None, lambda: Credentials(next(keys), "secret"), None),
    )
    with closing(open_store(faulty_s3.url + "&client=obstore")) as store:
        for _ in range(3):
            store.put("k", b"")
    used = [request.headers["authorization"].split("=")[1].split("/")[0] for request in faulty_s3.requests]
    assert used == ["first", "first", "second"]


def test_a_store_that_is_opened_again_makes_no_new_client(faulty_s3, monkeypatch):
    made, make = [], obstore_s3.ObstoreStore
    monkeypatch.setattr(obstore_s3, "ObstoreStore", lambda *args, **named: made.append(args) or make(*args, **named))
    for _ in range(3):
        with closing(open_store(faulty_s3.url + "&client=obstore")) as store:
            store.put("k", b"")
    assert len(made) == 1
    for bucket in range(obstore_s3._CLIENTS_MAX):
        absent = faulty_s3.url.replace("s3://", f"s3://b{bucket}-") + "&client=obstore"
        with closing(open_store(absent)) as store, pytest.raises(StoreRefused):
            store.put("k", b"")
    assert len(made) == 1 + obstore_s3._CLIENTS_MAX
    assert len(obstore_s3._clients) == obstore_s3._CLIENTS_MAX


@pytest.mark.parametrize("used_before", [True, False])
def test_a_forked_process_reads_too(s3_moto_url, used_before):
    """obstore's threads do not survive a fork, so that a child whose parent had used it falls back on boto3."""
    code = f"""
import os, signal
from pagestore.urls import open_store
store = open_store({s3_moto_url!r})
if {used_before}:
    store.put("k", b"body")
else:
    open_store({s3_moto_url + "&client=boto3"!r}).put("k", b"body")
child = os.fork()
if child == 0:
    signal.alarm(30)
    right = store.get("k") == b"body"
    os._exit(0 if right else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert store.get("k") == b"body"
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_reading_and_writing_take_no_boto3(s3_moto_url):
    code = f"""
import sys
from pagestore.errors import ObjectNotFound
from pagestore.urls import open_store
store = open_store({s3_moto_url!r})
assert store.put_if_absent("k", b"body")
assert [info.key for info in store.list("", limit=1)] == ["k"]
assert store.get("k") == b"body" and store.get_range("k", 1, 2) == b"od"
try:
    store.get("missing")
except ObjectNotFound:
    store.delete("k")
assert store.put_stream("k", [b"x" * 2**20] * 17) == 17 * 2**20
assert "botocore" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def client_of(store):
    return type(store.inner._requests._api).__name__
