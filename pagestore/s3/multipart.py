"""The requests of a multipart upload, sent by ourselves: obstore sends one only as a whole, never a part again."""

from collections.abc import Sequence
from xml.etree import ElementTree as ET

from pagestore.s3.errors import NoAnswer
from pagestore.s3.signed_http import SignedReply, SignedRequests, error_reply, local_name, parsed


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
        raise error_reply(reply.status, reply.body)
    if not reply.etag:
        raise NoAnswer("a part was taken without an ETag")
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
        raise error_reply(reply.status, reply.body)


def _told(reply: SignedReply, expected: str) -> ET.Element:
    """Return the root of a good reply."""
    root = parsed(reply.body)
    if reply.status != 200 or (root is not None and local_name(root) == "Error"):
        raise error_reply(reply.status, reply.body)
    if root is None or local_name(root) != expected:
        raise NoAnswer(f"a reply came that is no {expected}")
    return root
