"""Lists a bucket with our own request, since obstore cannot ask for fewer than 1000 keys.

Finding the newest commit of a log takes a listing of a few keys; a page of 1000 keys is 300 KB.
"""

from datetime import datetime
from urllib.parse import unquote
from xml.etree import ElementTree as ET

from pagestore.s3.api import ListedObject, ListPage
from pagestore.s3.errors import NoAnswer, error_reply
from pagestore.s3.replies import next_token
from pagestore.s3.server_words import local_name, parsed
from pagestore.s3.signed_http import SignedRequests


def list_page(requests: SignedRequests, prefix: str, *, start_after: str, token: str, wanted: int) -> ListPage:
    """Return one page of ListObjectsV2; raises `ErrorReply`, `NoAnswer`, `UntrustedCertificate` or `OSError`."""
    options = {"list-type": "2", "encoding-type": "url", "prefix": prefix, "max-keys": str(wanted)}
    if token:
        options["continuation-token"] = token
    elif start_after:
        options["start-after"] = start_after
    reply = requests.send("GET", "", options)
    if reply.status != 200:
        raise reply.error()
    return read_page(reply.body)


def read_page(body: bytes) -> ListPage:
    """Parse a ListBucketResult; raises `NoAnswer` for a body that is not XML, `ErrorReply` for other XML.

    Raises `WrongReply` for a truncated listing that does not say how to continue.
    """
    root = parsed(body)
    if root is None:
        raise NoAnswer("the server sent a listing that is not XML")
    if local_name(root) != "ListBucketResult":
        raise error_reply(200, body)
    url_quoted = root.findtext("{*}EncodingType") == "url"
    objects = tuple(_listed(found, url_quoted=url_quoted) for found in root.findall("{*}Contents"))
    truncated = (root.findtext("{*}IsTruncated") or "").strip().lower() == "true"
    return ListPage(objects, next_token(truncated=truncated, token=root.findtext("{*}NextContinuationToken") or ""))


def _listed(found: ET.Element, *, url_quoted: bool) -> ListedObject:
    try:
        key = found.findtext("{*}Key") or ""
        modified = datetime.fromisoformat(found.findtext("{*}LastModified") or "")
        etag = (found.findtext("{*}ETag") or "").strip('"')
        size = int(found.findtext("{*}Size") or "")
        return ListedObject(unquote(key) if url_quoted else key, size, modified.timestamp(), etag)
    except ValueError as error:
        raise NoAnswer(f"the server sent an invalid listing: {error}") from error
