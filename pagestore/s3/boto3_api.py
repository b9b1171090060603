"""`Boto3Api`: AWS's own client, which honours the same variables, profiles and roles as AWS's tools."""

import os
from collections.abc import Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypedDict, cast

from pagestore.s3.api import ListedObject, ListPage, NotDeleted, UploadPage
from pagestore.s3.errors import ERROR_BODY, NoAnswer
from pagestore.s3.replies import next_token, ranged_body, require_etag, whole_body
from pagestore.s3.settings import S3Settings
from pagestore.s3.sigv4 import content_md5

if TYPE_CHECKING:
    from boto3.session import Session
    from mypy_boto3_s3 import S3Client

_ERROR_BODY_BYTES_MAX = 4096


class Boto3Api:
    """The `S3Api` of a bucket, through boto3."""

    def __init__(self, bucket: str, settings: S3Settings) -> None:
        """Import boto3 and find credentials, region and endpoint; nothing else is sent yet."""
        self._bucket = bucket
        self._settings = settings
        self._session = _new_session(settings)
        self._client = _new_client(self._session, settings, settings.first_silence_s)

    @property
    def endpoint(self) -> str:
        """The server's base URL, from the settings or the environment."""
        return self._client.meta.endpoint_url

    def wait_longer(self) -> None:
        """Make another client whose connections wait longer; running requests continue with the old one."""
        self._client = _new_client(self._session, self._settings, self._settings.read_timeout_s)

    def get(self, full_key: str) -> bytes:
        """Return the whole object."""
        return whole_body(self._client.get_object(Bucket=self._bucket, Key=full_key))

    def get_range(self, full_key: str, start: int, length: int) -> bytes:
        """Return a slice of the object."""
        asked = f"bytes={start}-{start + length - 1}"
        return ranged_body(self._client.get_object(Bucket=self._bucket, Key=full_key, Range=asked), start, length)

    def put(self, full_key: str, body: bytes, *, if_absent: bool) -> None:
        """Create or replace the object."""
        condition: _Condition = {"IfNoneMatch": "*"} if if_absent else {}
        reply = self._client.put_object(
            Bucket=self._bucket, Key=full_key, Body=body, ContentMD5=content_md5(body), **condition
        )
        require_etag(reply.get("ETag"))

    def delete(self, full_key: str) -> None:
        """Remove the object."""
        self._client.delete_object(Bucket=self._bucket, Key=full_key)

    def delete_many(self, full_keys: Sequence[str]) -> Sequence[NotDeleted]:
        """Remove objects with one request; the client adds the Content-MD5 that it needs."""
        reply = self._client.delete_objects(
            Bucket=self._bucket, Delete={"Objects": [{"Key": key} for key in full_keys], "Quiet": True}
        )
        return [
            NotDeleted(found.get("Key", ""), found.get("Code", ""), found.get("Message", ""))
            for found in reply.get("Errors", ())
        ]

    def size(self, full_key: str) -> int:
        """Return the object's size in bytes."""
        reply = self._client.head_object(Bucket=self._bucket, Key=full_key)
        require_etag(reply.get("ETag"))
        return reply["ContentLength"]

    def list_page(self, prefix: str, *, start_after: str, token: str, wanted: int) -> ListPage:
        """Return one page of a listing."""
        position: _Position = {"StartAfter": start_after} if start_after else {}
        if token:
            position = {"ContinuationToken": token}
        reply = self._client.list_objects_v2(Bucket=self._bucket, Prefix=prefix, MaxKeys=wanted, **position)
        if "IsTruncated" not in reply:
            raise NoAnswer("the server sent a listing without content")
        objects = tuple(
            ListedObject(
                found["Key"], found["Size"], found["LastModified"].timestamp(), found.get("ETag", "").strip('"')
            )
            for found in reply.get("Contents", ())
        )
        return ListPage(
            objects, next_token(truncated=reply["IsTruncated"], token=reply.get("NextContinuationToken", ""))
        )

    def create_upload(self, full_key: str) -> str:
        """Begin a multipart upload."""
        upload_id = self._client.create_multipart_upload(Bucket=self._bucket, Key=full_key).get("UploadId")
        if not upload_id:
            raise NoAnswer("the server began an upload without an id")
        return upload_id

    def upload_part(self, full_key: str, upload_id: str, number: int, body: bytes) -> str:
        """Send a part."""
        reply = self._client.upload_part(
            Bucket=self._bucket,
            Key=full_key,
            UploadId=upload_id,
            PartNumber=number,
            Body=body,
            ContentMD5=content_md5(body),
        )
        require_etag(reply.get("ETag"))
        return reply["ETag"]

    def complete_upload(self, full_key: str, upload_id: str, etags: Sequence[str]) -> None:
        """Create the object from its parts."""
        reply = self._client.complete_multipart_upload(
            Bucket=self._bucket,
            Key=full_key,
            UploadId=upload_id,
            MultipartUpload={"Parts": [{"ETag": etag, "PartNumber": at} for at, etag in enumerate(etags, start=1)]},
        )
        require_etag(reply.get("ETag"))

    def abort_upload(self, full_key: str, upload_id: str) -> None:
        """Delete the parts sent so far."""
        self._client.abort_multipart_upload(Bucket=self._bucket, Key=full_key, UploadId=upload_id)

    def list_uploads(self, prefix: str, marker: tuple[str, str] | None) -> UploadPage:
        """Return unfinished uploads."""
        position: _UploadPosition = {"KeyMarker": marker[0], "UploadIdMarker": marker[1]} if marker else {}
        reply = self._client.list_multipart_uploads(Bucket=self._bucket, Prefix=prefix, **position)
        uploads = tuple(
            (found["Key"], found["UploadId"], found["Initiated"].timestamp()) for found in reply.get("Uploads", ())
        )
        following = (reply.get("NextKeyMarker", ""), reply.get("NextUploadIdMarker", ""))
        return UploadPage(uploads, following if reply.get("IsTruncated") and any(following) else None)

    def close(self) -> None:
        """Close all connections."""
        self._client.close()


class _Condition(TypedDict, total=False):
    IfNoneMatch: str


class _UploadPosition(TypedDict, total=False):
    KeyMarker: str
    UploadIdMarker: str


class _Position(TypedDict, total=False):
    StartAfter: str
    ContinuationToken: str


def _new_session(settings: S3Settings) -> "Session":
    import boto3  # noqa: PLC0415 - takes 140 ms to import

    return boto3.session.Session(region_name=settings.region or os.environ.get("AWS_REGION"))


def _new_client(session: "Session", settings: S3Settings, silence_s: float) -> "S3Client":
    """Return a client configured by AWS's standard chain of variables, profiles and roles.

    With an explicit endpoint, botocore addresses the bucket by path, not by host name, unless the profile says
    otherwise. Checksums that only AWS supports are off: other servers fail on them, and TLS, Content-MD5 and the
    checksums of our formats protect the bytes.
    """
    from botocore.config import Config  # noqa: PLC0415

    client = session.client(
        "s3",
        endpoint_url=settings.endpoint,
        region_name=session.region_name or "us-east-1",
        config=Config(
            retries={"total_max_attempts": 1, "mode": "standard"},
            connect_timeout=settings.connect_timeout_s,
            read_timeout=silence_s,
            max_pool_connections=settings.parallelism + settings.part_parallelism,
            tcp_keepalive=True,
            signature_version="s3v4",
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            user_agent_extra="graft",
        ),
    )
    client.meta.events.register("before-parse.s3", _save_error_body)
    client.meta.events.register("before-send.s3", _write_headers_as_text)
    client.meta.events.register("before-call.s3.HeadBucket", cast("Any", _region_unknown))
    return client


def _save_error_body(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: object) -> None:
    """Store the body of an error reply for the error message: botocore drops bodies that are not XML."""
    body = response_dict.get("body")
    if response_dict.get("status_code", 0) >= 300 and isinstance(body, bytes):
        customized_response_dict[ERROR_BODY] = body[:_ERROR_BODY_BYTES_MAX]


def _write_headers_as_text(request: Any, **_: object) -> None:
    """Convert botocore's byte headers to text: otherwise urllib3 cannot return a redirect of status 303."""
    for name, value in request.headers.items():
        if isinstance(value, bytes):
            request.headers[name] = value.decode("latin-1")


def _region_unknown(**_: object) -> tuple[Any, dict[str, Any]]:
    """Answer botocore's HEAD of the bucket, which it sends to find the region after a redirect that names none.

    If it were sent, it would be redirected too, and the recursion would end in `RecursionError`.
    """
    return SimpleNamespace(status_code=200), {"ResponseMetadata": {"HTTPHeaders": {}}}
