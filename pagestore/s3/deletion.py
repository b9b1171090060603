"""Removes many objects with one request, and lists unfinished uploads, with requests that we send ourselves."""

from collections.abc import Sequence
from datetime import datetime
from urllib.parse import unquote
from xml.etree import ElementTree as ET

from pagestore.s3.api import NotDeleted, UploadPage
from pagestore.s3.errors import NoAnswer
from pagestore.s3.signed_http import SignedRequests

_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


def delete_many(requests: SignedRequests, full_keys: Sequence[str]) -> list[NotDeleted]:
    """Remove up to 1000 objects; return those that the server did not remove."""
    root = ET.Element("Delete", xmlns=_NAMESPACE)
    for key in full_keys:
        ET.SubElement(ET.SubElement(root, "Object"), "Key").text = key
    ET.SubElement(root, "Quiet").text = "true"
    reply = requests.send("POST", "", {"delete": ""}, ET.tostring(root)).result("DeleteResult")
    return [
        NotDeleted(found.findtext("{*}Key") or "", found.findtext("{*}Code") or "", found.findtext("{*}Message") or "")
        for found in reply.findall("{*}Error")
    ]


def list_uploads(requests: SignedRequests, prefix: str, marker: tuple[str, str] | None) -> UploadPage:
    """Return one page of the unfinished uploads to keys that start with ``prefix``."""
    options = {"uploads": "", "encoding-type": "url", "prefix": prefix}
    if marker:
        options |= {"key-marker": marker[0], "upload-id-marker": marker[1]}
    root = requests.send("GET", "", options).result("ListMultipartUploadsResult")
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
        raise NoAnswer(f"the server sent an invalid list of uploads: {error}") from error
    following = (text(root, "NextKeyMarker"), text(root, "NextUploadIdMarker"))
    truncated = text(root, "IsTruncated").strip().lower() == "true"
    return UploadPage(uploads, following if truncated and any(following) else None)
