"""The requests that we send ourselves because obstore does not offer them or reports too little about their replies."""

from collections.abc import Sequence
from xml.etree import ElementTree as ET

from pagestore.s3.errors import NoAnswer
from pagestore.s3.replies import require_etag
from pagestore.s3.signed_http import SignedRequests


def put_whole(requests: SignedRequests, full_key: str, body: bytes, *, if_absent: bool) -> None:
    """Create or replace an object; with ``if_absent``, only create it."""
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
    """Return the object's size in bytes."""
    reply = requests.send("HEAD", full_key, {})
    if reply.status != 200:
        raise reply.error()
    require_etag(reply.etag)
    length = reply.headers.get("content-length", "")
    if not length.isdecimal():
        raise NoAnswer(f"the server sent an object size that is not a number: {length!r}")
    return int(length)


def create_upload(requests: SignedRequests, full_key: str) -> str:
    """Begin an upload and return its id; like all functions here, raises `ErrorReply` and errors of `send`."""
    result = requests.send("POST", full_key, {"uploads": ""}).result("InitiateMultipartUploadResult")
    upload_id = result.findtext("{*}UploadId")
    if not upload_id:
        raise NoAnswer("the server began an upload without an id")
    return upload_id


def upload_part(requests: SignedRequests, full_key: str, upload_id: str, number: int, body: bytes) -> str:
    """Send a part and return its ETag."""
    reply = requests.send("PUT", full_key, {"partNumber": str(number), "uploadId": upload_id}, body)
    if reply.status != 200:
        raise reply.error()
    require_etag(reply.etag)
    return reply.etag


def complete_upload(requests: SignedRequests, full_key: str, upload_id: str, etags: Sequence[str]) -> None:
    """Create the object from all parts; an error after the reply has begun arrives with status 200."""
    root = ET.Element("CompleteMultipartUpload", xmlns="http://s3.amazonaws.com/doc/2006-03-01/")
    for number, etag in enumerate(etags, start=1):
        part = ET.SubElement(root, "Part")
        ET.SubElement(part, "ETag").text = etag
        ET.SubElement(part, "PartNumber").text = str(number)
    reply = requests.send("POST", full_key, {"uploadId": upload_id}, ET.tostring(root))
    reply.result("CompleteMultipartUploadResult")


def abort_upload(requests: SignedRequests, full_key: str, upload_id: str) -> None:
    """Delete the parts sent so far."""
    reply = requests.send("DELETE", full_key, {"uploadId": upload_id})
    if reply.status not in {200, 204}:
        raise reply.error()
