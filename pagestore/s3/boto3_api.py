"""`Boto3Api`: AWS's own client, which follows every variable, profile and role that AWS's tools follow."""

import base64
import hashlib
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypedDict

from pagestore.s3.api import ListedObject, ListPage
from pagestore.s3.errors import NoAnswer
from pagestore.s3.replies import ranged_body, whole_body
from pagestore.s3.settings import S3Settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def content_md5(body: bytes) -> str:
    """Return the Content-MD5 header, by which a server refuses a body that was damaged on its way."""
    return base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()


class Boto3Api:
    """The `S3Api` of a bucket, through boto3."""

    def __init__(self, bucket: str, settings: S3Settings) -> None:
        """Import boto3 and find credentials, region and endpoint; nothing is sent yet, except to find them."""
        self._bucket = bucket
        self._client = _new_client(settings)

    @property
    def endpoint(self) -> str:
        """As given or found."""
        return self._client.meta.endpoint_url

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
        self._client.put_object(Bucket=self._bucket, Key=full_key, Body=body, ContentMD5=content_md5(body), **condition)

    def delete(self, full_key: str) -> None:
        """Remove the object."""
        self._client.delete_object(Bucket=self._bucket, Key=full_key)

    def size(self, full_key: str) -> int:
        """Return the object's bytes."""
        return self._client.head_object(Bucket=self._bucket, Key=full_key)["ContentLength"]

    def list_page(self, prefix: str, *, start_after: str, token: str, wanted: int) -> ListPage:
        """Return one page of a listing."""
        position: _Position = {"StartAfter": start_after} if start_after else {}
        if token:
            position = {"ContinuationToken": token}
        reply = self._client.list_objects_v2(Bucket=self._bucket, Prefix=prefix, MaxKeys=wanted, **position)
        if "IsTruncated" not in reply:
            raise NoAnswer("a listing came that has no content")
        objects = tuple(
            ListedObject(found["Key"], found["Size"], found["LastModified"].timestamp())
            for found in reply.get("Contents", ())
        )
        return ListPage(objects, reply.get("NextContinuationToken", "") if reply["IsTruncated"] else "")

    def create_upload(self, full_key: str) -> str:
        """Begin a multipart upload."""
        return self._client.create_multipart_upload(Bucket=self._bucket, Key=full_key)["UploadId"]

    def upload_part(self, full_key: str, upload_id: str, number: int, body: bytes) -> str:
        """Send a part."""
        return self._client.upload_part(
            Bucket=self._bucket,
            Key=full_key,
            UploadId=upload_id,
            PartNumber=number,
            Body=body,
            ContentMD5=content_md5(body),
        )["ETag"]

    def complete_upload(self, full_key: str, upload_id: str, etags: Sequence[str]) -> None:
        """Make the object of its parts."""
        self._client.complete_multipart_upload(
            Bucket=self._bucket,
            Key=full_key,
            UploadId=upload_id,
            MultipartUpload={"Parts": [{"ETag": etag, "PartNumber": at} for at, etag in enumerate(etags, start=1)]},
        )

    def abort_upload(self, full_key: str, upload_id: str) -> None:
        """Drop the parts sent."""
        self._client.abort_multipart_upload(Bucket=self._bucket, Key=full_key, UploadId=upload_id)

    def close(self) -> None:
        """Close all connections."""
        self._client.close()


class _Condition(TypedDict, total=False):
    IfNoneMatch: str


class _Position(TypedDict, total=False):
    StartAfter: str
    ContinuationToken: str


def _new_client(settings: S3Settings) -> "S3Client":
    """Return a client by AWS's standard chain of variables, profiles and roles.

    botocore addresses buckets by path, not by host name, wherever an endpoint is given, unless the profile
    wants otherwise. Checksums that only AWS knows are left off: other servers fail on them, and TLS,
    Content-MD5 and our own formats' checksums protect the bytes.
    """
    import boto3  # noqa: PLC0415 - takes 140 ms to import
    from botocore.config import Config  # noqa: PLC0415

    session = boto3.session.Session(region_name=settings.region or os.environ.get("AWS_REGION"))
    return session.client(
        "s3",
        endpoint_url=settings.endpoint,
        region_name=session.region_name or "us-east-1",
        config=Config(
            retries={"total_max_attempts": 1, "mode": "standard"},
            connect_timeout=settings.connect_timeout_s,
            read_timeout=settings.read_timeout_s,
            max_pool_connections=settings.parallelism + settings.part_parallelism,
            tcp_keepalive=True,
            signature_version="s3v4",
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            user_agent_extra="graft",
        ),
    )
