"""The requests that are sent by ourselves, not by obstore: what it cannot do, or not tell enough about."""

from collections.abc import Sequence
from xml.etree import ElementTree as ET

from pagestore.s3.errors import NoAnswer
from pagestore.s3.replies import require_etag
from pagestore.s3.server_words import local_name, parsed
from pagestore.s3.signed_http import SignedReply, SignedRequests


def put_whole(requests: SignedRequests, full_key: str, body: bytes, *, if_absent: bool) -> None:
    """Create or replace an object; only create it ``if_absent``."""
    reply = requests.send("PUT", full_key, {}, body, {"if-none-match": "*"} if if_absent else {})
    if reply.status != 200:
        raise reply.error()
    require_etag(reply.etag)


def delete(requests: SignedRequests, full_key: str) -> None:
    """Remove the object."""
    reply = requests.send("DELETE", full_key, {})
    if reply.status not in {200, 204}:
        raise reply.error()


def size(requests: SignedRequests, full_key: str) -> int:
    """Return the object's bytes."""
    reply = requests.send("HEAD", full_key, {})
    if reply.status != 200:
        raise reply.error()
    require_etag(reply.etag)
    length = reply.headers.get("content-length", "")
    if not length.isdecimal():
        raise NoAnswer(f"an object's size came that is no number: {length!r}")
    return int(length)


def create_upload(requests: SignedRequests, full_key: str) -> str:
    """Begin an upload and return its id; all functions here raise `ErrorReply` and what `SignedRequests.send` does."""
    upload_id = _told(requests.send("POST", full_key, {"uploads": ""}), "InitiateMultipartUploadResult").findtext(
        "{*}UploadId"
    )
    if not upload_id:
        raise NoAnswer("an upload was begun that has no id")
    return upload_id


def upload_part(requests: SignedRequests, full_key: str, upload_id: str, number: int, body: bytes) -> str:
    """Send a part and return its ETag."""
    reply = requests.send("PUT", full_key, {"partNumber": str(number), "uploadId": upload_id}, body)
    if reply.status != 200:
        raise reply.error()
    require_etag(reply.etag)
    return reply.etag


def complete_upload(requests: SignedRequests, full_key: str, upload_id: str, etags: Sequence[str]) -> None:
    """Make the object of all parts; what fails after the reply has begun comes as an error with status 200."""
    root = ET.Element("CompleteMultipartUpload", xmlns="http://s3.amazonaws.com/doc/2006-03-01/")
    for number, etag in enumerate(etags, start=1):
        part = ET.SubElement(root, "Part")
        ET.SubElement(part, "ETag").text = etag
        ET.SubElement(part, "PartNumber").text = str(number)
    _told(requests.send("POST", full_key, {"uploadId": upload_id}, ET.tostring(root)), "CompleteMultipartUploadResult")


def abort_upload(requests: SignedRequests, full_key: str, upload_id: str) -> None:
    """Drop the parts sent."""
    reply = requests.send("DELETE", full_key, {"uploadId": upload_id})
    if reply.status not in {200, 204}:
        raise reply.error()


def _told(reply: SignedReply, expected: str) -> ET.Element:
    """Return the root of a good reply."""
    root = parsed(reply.body)
    if reply.status != 200 or (root is not None and local_name(root) == "Error"):
        raise reply.error()
    if root is None or local_name(root) != expected:
        raise NoAnswer(f"a reply came that is no {expected}")
    return root
