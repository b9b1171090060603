"""Addresses that would silently become directories."""

from pathlib import Path

import pytest

from pagestore.mistyped import looks_like_url, why_not_a_directory
from pagestore.urls import open_store

SLIPS = [
    "s3:/bucket/x",
    "s3:bucket/x",
    "S3:/bucket/x",
    "s3//bucket/x",
    "s3;//bucket/x",
    "s3.//bucket/x",
    "s3:\\\\bucket\\x",
    "//bucket/x",
    "file:/home/ann/store",
    "file:store",
    "memory:x",
    "http:/127.0.0.1:9000/bucket",
    "https:bucket",
    "gs:/bucket/x",
    "localhost:9000/bucket",
    "127.0.0.1:9000",
    "minio.example:9000/bucket/x",
    "bucket.s3.amazonaws.com/x",
    "s3.eu-central-1.amazonaws.com/bucket",
    "bucket/x?endpoint=http://127.0.0.1:9000",
    "bucket/x?region=eu-central-1",
    "ann@host:store",
    "host:/srv/store",
    " ./remote",
    "./remote ",
    "./rem\note",
    "",
]
DIRECTORIES = [
    "remote",
    "./remote",
    "../remote",
    "/srv/remote",
    "~/remote",
    "bucket/x",
    "s3/bucket/x",
    "s3",
    "./s3:/bucket/x",
    "my remote",
    "a:b",
    "backup-12:30",
    "what?",
    "Zürich/größe",
    "minio/x",
    "file",
]


@pytest.mark.parametrize("address", SLIPS)
def test_a_slip_is_refused_and_makes_nothing(address, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"use s3://bucket/prefix"):
        open_store(address)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("address", DIRECTORIES)
def test_a_directory_is_taken_for_one(address):
    assert why_not_a_directory(address) is None
    assert not looks_like_url(address)
    assert open_store(address).url.startswith("file:///")


@pytest.mark.parametrize("address", [slip for slip in SLIPS if slip.strip() and "\n" not in slip])
def test_a_path_object_is_taken_as_it_is(address):
    assert open_store(Path(address)).url.startswith("file:///")


def test_credentials_in_a_slip_are_not_repeated():
    with pytest.raises(ValueError) as caught:
        open_store("s3:/KEYID:hunter2@bucket/x")
    assert "hunter2" not in str(caught.value)
