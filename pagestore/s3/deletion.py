"""Removing many objects with one request, and finding uploads that nobody finished, with requests of our own."""

from collections.abc import Sequence
from datetime import datetime
from urllib.parse import unquote
from xml.etree import ElementTree as ET

from pagestore.s3.api import NotDeleted, UploadPage
from pagestore.s3.errors import NoAnswer
from pagestore.s3.server_words import local_name, parsed
from pagestore.s3.signed_http import SignedReply, SignedRequests

_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


def delete_many(requests: SignedRequests, full_keys: Sequence[str]) -> list[NotDeleted]:
    """Remove up to 1000 objects; return those that the server would not remove."""
    root = ET.Element("Delete", xmlns=_NAMESPACE)
    for key in full_keys:
        ET.SubElement(ET.SubElement(root, "Object"), "Key").text = key
    ET.SubElement(root, "Quiet").text = "true"
    reply = _told(requests.send("POST", "", {"delete": ""}, ET.tostring(root)), "DeleteResult")
    return [
        NotDeleted(found.findtext("{*}Key") or "", found.findtext("{*}Code") or "", found.findtext("{*}Message") or "")
        for found in reply.findall("{*}Error")
    ]


def list_uploads(requests: SignedRequests, prefix: str, marker: tuple[str, str] | None) -> UploadPage:
    """Return a page of the unfinished uploads to keys that start with ``prefix``."""
    options = {"uploads": "", "encoding-type": "url", "prefix": prefix}
    if marker:
        options |= {"key-marker": marker[0], "upload-id-marker": marker[1]}
    root = _told(requests.send("GET", "", options), "ListMultipartUploadsResult")
    is_quoted = root.findtext("{*}EncodingType") == "url"

    def text(parent: ET.Element, name: str) -> str:
        found = parent.findtext(f"{{*}}{name}") or ""
        return unquote(found) if is_quoted and name.endswith(("Key", "KeyMarker")) else found

    try:
        uploads = tuple(
            (text(found, "Key"), text(found, "UploadId"), datetime.fromisoformat(text(found, "Initiated")).timestamp())
            for found in root.findall("{*}Upload")
        )
    except ValueError as error:
        raise NoAnswer(f"a list of uploads came that makes no sense: {error}") from error
    following = (text(root, "NextKeyMarker"), text(root, "NextUploadIdMarker"))
    truncated = text(root, "IsTruncated").strip().lower() == "true"
    return UploadPage(uploads, following if truncated and any(following) else None)


def _told(reply: SignedReply, expected: str) -> ET.Element:
    """Return the root of a good reply."""
    root = parsed(reply.body)
    if reply.status != 200 or (root is not None and local_name(root) == "Error"):
        raise reply.error()
    if root is None or local_name(root) != expected:
        raise NoAnswer(f"a reply came that is no {expected}")
    return root
