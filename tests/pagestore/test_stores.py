"""The one contract, kept by every backend; S3's on three servers."""

import uuid
from contextlib import closing

import boto3
import pytest

from pagestore.errors import StoreRefused, UnsafeStore
from pagestore.s3.settings import S3Settings
from pagestore.stores.probe import require_conditional_writes
from pagestore.testing import ObjectStoreContract
from pagestore.urls import open_store


class TestMemoryStore(ObjectStoreContract):
    many_keys = 2100
    streams_in_steps = False

    @pytest.fixture
    def store_url(self):
        return f"memory://{uuid.uuid4().hex}"


class TestLocalDirStore(ObjectStoreContract):
    many_keys = 1050

    @pytest.fixture
    def store_url(self, tmp_path):
        return str(tmp_path / "not" / "there yet")


@pytest.fixture(params=["boto3", "obstore"])
def client_option(request):
    """Each S3 contract is kept by each client."""
    return f"&client={request.param}"


class S3Contract(ObjectStoreContract):
    creates_buckets_on_writing = False

    def test_the_server_is_safe(self, store):
        require_conditional_writes(store)
        assert list(store.list("")) == []

    def test_small_pages(self, store_url):
        keys = [f"k/{number:03}" for number in range(23)]
        with closing(open_store(store_url, s3_settings=S3Settings(list_page_keys=5))) as store:
            for key in keys:
                store.put(key, b"")
            assert [info.key for info in store.list("k/")] == keys
            assert [info.key for info in store.list("k/", limit=12)] == keys[:12]
            assert [info.key for info in store.list("k/", limit=10)] == keys[:10]
            assert [info.key for info in store.list("k/", start_after=keys[1], limit=7)] == keys[2:9]

    def test_a_neighbouring_prefix_is_another_store(self, store, store_url):
        store.put("k", b"mine")
        with closing(open_store(store_url.replace("?", "-neighbour?"))) as neighbour:
            assert list(neighbour.list("")) == []
            neighbour.put("k", b"theirs")
        assert [info.key for info in store.list("")] == ["k"]
        assert store.get("k") == b"mine"

    def test_a_missing_bucket_is_refused_whatever_is_asked(self, store_url):
        missing = store_url.replace("s3://graft-test/", "s3://graft-test-missing/")
        with closing(open_store(missing)) as store:
            reads = (
                lambda: store.get("k"),
                lambda: store.get_range("k", 0, 1),
                lambda: list(store.list("")),
                lambda: store.delete("k"),
            )
            writes = (
                lambda: store.put("k", b""),
                lambda: store.put_if_absent("k", b""),
                lambda: store.put_stream("k", [b"x" * 9_000_000]),
            )
            for call in reads if self.creates_buckets_on_writing else reads + writes:
                with pytest.raises(StoreRefused, match=r"bucket graft-test-missing at http://127.*create the bucket"):
                    call()

    def test_a_failed_stream_leaves_no_parts(self, store, store_url):
        def chunks():
            yield b"x" * 20_000_000
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            store.put_stream("k", chunks())
        _, _, bucket, prefix_and_endpoint = store_url.split("/", 3)
        prefix, endpoint = prefix_and_endpoint.split("&")[0].split("?endpoint=")
        with closing(boto3.client("s3", endpoint_url=endpoint)) as client:
            assert client.list_multipart_uploads(Bucket=bucket, Prefix=prefix).get("Uploads", []) == []


class RealS3Contract(S3Contract):
    @pytest.mark.parametrize(
        ("variable", "value"),
        [("AWS_SECRET_ACCESS_KEY", "a-wrong-secret"), ("AWS_ACCESS_KEY_ID", "nobody-we-know")],
    )
    def test_wrong_credentials_are_refused(self, store_url, monkeypatch, variable, value):
        monkeypatch.setenv(variable, value)
        with closing(open_store(store_url)) as store:
            for call in (lambda: store.get("k"), lambda: store.put("k", b""), lambda: list(store.list(""))):
                with pytest.raises(StoreRefused, match="credentials") as caught:
                    call()
                assert value not in str(caught.value)


class TestS3StoreOnMoto(S3Contract):
    forgets_aborted_uploads = False
    many_keys = 1050

    @pytest.fixture
    def store_url(self, s3_moto_url, client_option):
        return s3_moto_url + client_option


class TestS3StoreOnSeaweedFS(RealS3Contract):
    lists_folder_by_folder = True
    creates_buckets_on_writing = True

    @pytest.fixture
    def store_url(self, seaweedfs_url, client_option):
        return seaweedfs_url + client_option

    def test_a_listing_out_of_order_is_never_believed(self, store):
        for key in ("b/a", "b-a"):
            store.put(key, b"")
        with pytest.raises(UnsafeStore, match=r"lists b-a after b/a"):
            list(store.list(""))


class TestS3StoreOnMinIO(RealS3Contract):
    streams_in_steps = False
    """MinIO lists the uploads of one key, not of a prefix, and drops those that nobody finished itself after a day."""

    @pytest.fixture
    def store_url(self, minio_url, client_option):
        return minio_url + client_option
